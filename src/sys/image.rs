//! The executable image: where the code of this crate lies, and which build it is.
//!
//! Parent and worker are the same file, loaded at different addresses. What they exchange about
//! code is an offset from one `static`: functions have no unique address, statics do.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::slice;

use crate::sync::OnceLock;

/// The point from which code is measured. Mutable inside, so that no linker merges it.
static ANCHOR: crate::sync::AtomicBool = crate::sync::AtomicBool::new(false);

/// The longest build-id that is compared (SHA-1 has 20 bytes, SHA-256 has 32).
const BUILD_ID_BYTES_MAX: usize = 32;

/// Which build an image is: its build-id, or a hash of its code where the linker made none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ImageId(pub(crate) [u8; BUILD_ID_BYTES_MAX]);

/// The image that holds this crate.
#[derive(Debug)]
pub(crate) struct Image {
    anchor: usize,
    text: Vec<(usize, usize)>,
    is_main: bool,
    id: ImageId,
}

impl Image {
    /// Finds the image, once a process.
    pub(crate) fn get() -> &'static Self {
        static IMAGE: OnceLock<Image> = OnceLock::new();
        IMAGE.get_or_init(Self::find)
    }

    /// Tells whether the image is the program itself and not a shared library.
    pub(crate) fn is_main(&self) -> bool {
        self.is_main
    }

    pub(crate) fn id(&self) -> ImageId {
        self.id
    }

    /// Turns a code address into what the peer can find again. `None`: not in this image's code.
    pub(crate) fn offset_of(&self, code: usize) -> Option<u64> {
        self.is_code(code).then(|| code.wrapping_sub(self.anchor) as u64)
    }

    /// Turns an offset back into a code address. `None`: it does not lead into this image's code.
    pub(crate) fn address_at(&self, offset: u64) -> Option<usize> {
        let code = self.anchor.wrapping_add(offset as usize);
        self.is_code(code).then_some(code)
    }

    fn is_code(&self, address: usize) -> bool {
        self.text.iter().any(|&(start, end)| (start..end).contains(&address))
    }

    fn find() -> Self {
        let anchor = ptr::from_ref(&ANCHOR).addr();
        let mut search = Search { anchor, visited: 0, found: None };
        // SAFETY: `visit` matches the callback's type and casts the pointer back to `Search`,
        // which lives on this frame for the whole call.
        unsafe { libc::dl_iterate_phdr(Some(visit), ptr::from_mut(&mut search).cast()) };
        let Some(found) = search.found else {
            // A static program without program headers: nothing can be checked, nothing is run.
            return Self { anchor, text: Vec::new(), is_main: false, id: ImageId([0; 32]) };
        };
        let id = found.build_id.unwrap_or_else(|| hash_code(&found.text));
        Self { anchor, text: found.text, is_main: found.is_main, id }
    }
}

struct Search {
    anchor: usize,
    visited: usize,
    found: Option<Found>,
}

struct Found {
    text: Vec<(usize, usize)>,
    build_id: Option<ImageId>,
    is_main: bool,
}

/// Looks at one loaded object. The first one that `dl_iterate_phdr` visits is the main program.
unsafe extern "C" fn visit(
    info: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    search: *mut c_void,
) -> c_int {
    // SAFETY: `Image::find` passed a pointer to its `Search`, which nobody else uses meanwhile.
    let search = unsafe { &mut *search.cast::<Search>() };
    // SAFETY: the loader passes a valid description that lives during the callback.
    let info = unsafe { &*info };
    let is_main = search.visited == 0;
    search.visited += 1;
    if info.dlpi_phdr.is_null() {
        return 0;
    }
    // SAFETY: the loader says that `dlpi_phnum` headers lie there, and it does not change them.
    let headers = unsafe { slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    let base = info.dlpi_addr as usize;
    let range = |h: &libc::Elf64_Phdr| {
        let start = base.wrapping_add(h.p_vaddr as usize);
        (start, start.wrapping_add(h.p_memsz as usize))
    };
    let holds_anchor = headers.iter().filter(|h| h.p_type == libc::PT_LOAD).any(|h| {
        let (start, end) = range(h);
        (start..end).contains(&search.anchor)
    });
    if !holds_anchor {
        return 0;
    }
    let text = headers
        .iter()
        .filter(|h| h.p_type == libc::PT_LOAD && h.p_flags & libc::PF_X != 0)
        .map(range)
        .collect();
    let build_id = headers.iter().filter(|h| h.p_type == libc::PT_NOTE).find_map(|h| {
        let (start, end) = range(h);
        // SAFETY: the loader mapped the segment readable, and nobody writes to notes.
        find_build_id(unsafe { slice::from_raw_parts(start as *const u8, end - start) })
    });
    search.found = Some(Found { text, build_id, is_main });
    1
}

/// Reads the GNU build-id out of a note segment: words `namesz descsz type`, name, description.
fn find_build_id(mut notes: &[u8]) -> Option<ImageId> {
    const NT_GNU_BUILD_ID: u32 = 3;
    let word = |bytes: &[u8], at: usize| {
        bytes.get(at..at + 4).map(|w| u32::from_ne_bytes([w[0], w[1], w[2], w[3]]))
    };
    loop {
        let name_len = word(notes, 0)? as usize;
        let desc_len = word(notes, 4)? as usize;
        let kind = word(notes, 8)?;
        let desc_at = 12 + name_len.next_multiple_of(4);
        let name = notes.get(12..12 + name_len)?;
        let desc = notes.get(desc_at..desc_at + desc_len)?;
        if kind == NT_GNU_BUILD_ID && name == b"GNU\0" {
            let mut id = [0; BUILD_ID_BYTES_MAX];
            let len = desc.len().min(id.len());
            id[..len].copy_from_slice(&desc[..len]);
            return Some(ImageId(id));
        }
        notes = notes.get(desc_at + desc_len.next_multiple_of(4)..)?;
    }
}

/// Hashes the code, FNV-1a over 64-bit words (Fowler, Noll, Vo: the IETF draft's constants).
fn hash_code(text: &[(usize, usize)]) -> ImageId {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for &(start, end) in text {
        // SAFETY: the loader mapped the segment readable, and nobody writes to code.
        let code = unsafe { slice::from_raw_parts(start as *const u8, end - start) };
        for word in code.chunks_exact(8) {
            let word = word.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
            hash = (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    let mut id = [0; BUILD_ID_BYTES_MAX];
    id[..8].copy_from_slice(&hash.to_ne_bytes());
    ImageId(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_of_this_crate_is_found_again_and_data_is_refused() {
        let image = Image::get();
        let code = hash_code as *const () as usize;
        let offset = image.offset_of(code).expect("a function lies in the text segment");
        assert_eq!(image.address_at(offset), Some(code));
        assert_eq!(image.offset_of(ptr::from_ref(&ANCHOR).addr()), None);
        assert_eq!(image.address_at(u64::MAX / 2), None);
        assert!(image.is_main());
    }

    #[test]
    fn a_build_id_is_read_after_other_notes_and_broken_notes_are_none() {
        let note = |kind: u32, name: &[u8], desc: &[u8]| {
            let mut bytes = Vec::new();
            for word in [name.len() as u32, desc.len() as u32, kind] {
                bytes.extend_from_slice(&word.to_ne_bytes());
            }
            bytes.extend_from_slice(name);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes.extend_from_slice(desc);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        let mut notes = note(1, b"GNU\0", &[9; 16]);
        notes.extend(note(3, b"GNU\0", &[7; 20]));
        let id = find_build_id(&notes).expect("the second note is a build-id");
        assert_eq!((&id.0[..20], &id.0[20..]), (&[7; 20][..], &[0; 12][..]));
        for len in 0..notes.len() - 20 {
            assert_eq!(find_build_id(&notes[..len]), None, "cut at {len}");
        }
    }
}
