//! A memory limit of the control group: the budget stays below it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use wharf::{Array, Executor, ShareError};

use crate::stage::{Row, Skip, skip, works};

pub const ROWS: &[Row] = &[Row {
    name: "the limit of a cgroup bounds the budget, and nobody is killed",
    scene: limited,
}];

const LIMIT: u64 = 256 << 20;
const BLOCK: u64 = 4 << 20;

/// A group below that of this process, which is in it until it is dropped.
struct Group {
    folder: PathBuf,
    home: PathBuf,
    kills: &'static str,
}

impl Group {
    fn enter() -> io::Result<Self> {
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let path = |controller: &str| {
            let mut lines = own.lines().map(|line| line.splitn(3, ':').skip(1));
            lines.find_map(|mut fields| {
                let found = fields.next()?.split(',').any(|name| name == controller);
                fields.next().filter(|_| found).map(|path| path.trim_start_matches('/'))
            })
        };
        let (home, limit, kills) = match (path("memory"), path("")) {
            (Some(path), _) => {
                let home = Path::new("/sys/fs/cgroup/memory").join(path);
                (home, "memory.limit_in_bytes", "memory.oom_control")
            }
            (None, Some(path)) => {
                (Path::new("/sys/fs/cgroup").join(path), "memory.max", "memory.events")
            }
            (None, None) => return Err(io::Error::other("there are no control groups")),
        };
        let folder = home.join(format!("wharf-scarcity-{}", std::process::id()));
        fs::create_dir(&folder)?;
        let group = Self { folder, home, kills };
        fs::write(group.folder.join(limit), LIMIT.to_string())?;
        fs::write(group.folder.join("cgroup.procs"), std::process::id().to_string())?;
        Ok(group)
    }

    /// How many processes the kernel has killed in the group.
    fn kills(&self) -> u64 {
        let text = fs::read_to_string(self.folder.join(self.kills)).expect("the group's counts");
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.expect("a count of kills").parse().expect("a number")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::write(self.home.join("cgroup.procs"), std::process::id().to_string());
        let _ = fs::remove_dir(&self.folder);
    }
}

fn limited() -> Result<(), Skip> {
    fn fill(bytes: u64) -> Result<Array<u8>, ShareError> {
        let mut array = wharf::array::<u8>(bytes as usize)?;
        array.fill(7);
        Ok(array.freeze())
    }
    let group = Group::enter().map_err(skip("a control group with a memory limit"))?;
    let executor = Executor::builder().workers(2).build().expect("an executor");
    let budget = executor.stats().budget_bytes;
    assert!(budget <= LIMIT / 4 * 3, "{budget} bytes under a limit of {LIMIT}");
    let workers = executor.worker_pids();
    let (mut held, mut refused) = (Vec::new(), 0);
    while refused < 2 {
        refused = 0;
        match executor.array::<u8>(BLOCK as usize) {
            Ok(mut array) => {
                array.fill(7);
                held.push(array.freeze());
            }
            Err(ShareError::OutOfMemory { .. }) => refused += 1,
            Err(error) => panic!("{error}"),
        }
        match executor.submit(fill, (BLOCK,)).expect("a task").join().expect("no death") {
            Ok(array) => held.push(array),
            Err(ShareError::OutOfMemory { .. }) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(held.len() as u64 * BLOCK > budget / 4 * 3, "{} blocks of {budget}", held.len());
    assert_eq!((group.kills(), executor.worker_pids()), (0, workers));
    drop(held);
    works(&executor);
    executor.shutdown().expect("an orderly end");
    Ok(())
}
