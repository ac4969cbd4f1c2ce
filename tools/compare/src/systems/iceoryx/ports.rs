//! iceoryx2's ports, as pairs of an outbox and an inbox.

use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;
use iceoryx2::service::port_factory::publish_subscribe::PortFactory;

/// Plain words: what to do, and two numbers.
pub type Order = [u64; 3];
pub type ArrayOutbox = Publisher<ipc::Service, [f64], ()>;
pub type ArrayInbox = Subscriber<ipc::Service, [f64], ()>;

/// Messages that fit between two processes.
const DEPTH: usize = 256;
/// Looks at an empty inbox before the core is offered to others.
const LOOKS: u32 = 200;

/// How a process waits for a message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// It looks again and again, and keeps its core busy.
    Poll,
    /// It sleeps until an event wakes it.
    Event,
}

impl Wait {
    pub fn name(self) -> &'static str {
        if self == Self::Poll { "poll" } else { "event" }
    }

    pub fn of(name: &str) -> Self {
        if name == "poll" { Self::Poll } else { Self::Event }
    }
}

pub struct Outbox {
    publisher: Publisher<ipc::Service, Order, ()>,
    notifier: Option<Notifier<ipc::Service>>,
}

pub struct Inbox {
    subscriber: Subscriber<ipc::Service, Order, ()>,
    listener: Option<Listener<ipc::Service>>,
}

fn orders(node: &Node<ipc::Service>, name: &str) -> PortFactory<ipc::Service, Order, ()> {
    let service = node.service_builder(&name.try_into().expect("a short name"));
    let service = service.publish_subscribe::<Order>().enable_safe_overflow(false);
    let service = service.subscriber_max_buffer_size(DEPTH).max_publishers(1).max_subscribers(1);
    service.open_or_create().expect("a service is made")
}

impl Outbox {
    pub fn new(node: &Node<ipc::Service>, name: &str, wait: Wait) -> Self {
        let service = orders(node, name);
        let publisher = service.publisher_builder();
        let publisher = publisher.backpressure_strategy(BackpressureStrategy::RetryUntilDelivered);
        let notifier = (wait == Wait::Event).then(|| {
            let service = node.service_builder(&name.try_into().expect("a short name"));
            let service = service.event().open_or_create().expect("a service is made");
            service.notifier_builder().create().expect("a port is made")
        });
        Self { publisher: publisher.create().expect("a port is made"), notifier }
    }

    pub fn send(&self, order: Order) {
        let sample = self.publisher.loan_uninit().expect("there is room");
        sample.write_payload(order).send().expect("it is sent");
        if let Some(notifier) = &self.notifier {
            notifier.notify().expect("the other side is told");
        }
    }
}

impl Inbox {
    pub fn new(node: &Node<ipc::Service>, name: &str, wait: Wait) -> Self {
        let listener = (wait == Wait::Event).then(|| {
            let service = node.service_builder(&name.try_into().expect("a short name"));
            let service = service.event().open_or_create().expect("a service is made");
            service.listener_builder().create().expect("a port is made")
        });
        let service = orders(node, name);
        let subscriber = service.subscriber_builder();
        let subscriber = subscriber.buffer_size(DEPTH).create().expect("a port is made");
        Self { subscriber, listener }
    }

    pub fn receive(&self) -> Order {
        let mut looks = 0;
        loop {
            if let Some(sample) = self.subscriber.receive().expect("it works") {
                return *sample;
            }
            looks += 1;
            match &self.listener {
                Some(listener) => {
                    listener.blocking_wait(|_| ()).expect("it works");
                }
                None if looks % LOOKS == 0 => std::thread::yield_now(),
                None => std::hint::spin_loop(),
            }
        }
    }
}

fn arrays(node: &Node<ipc::Service>, name: &str) -> PortFactory<ipc::Service, [f64], ()> {
    let service = node.service_builder(&name.try_into().expect("a short name"));
    let service = service.publish_subscribe::<[f64]>().enable_safe_overflow(false);
    let service = service.subscriber_max_buffer_size(1).subscriber_max_borrowed_samples(2);
    let service = service.max_publishers(1).max_subscribers(2);
    service.open_or_create().expect("a service is made")
}

pub fn array_outbox(node: &Node<ipc::Service>, name: &str, len: usize) -> ArrayOutbox {
    let service = arrays(node, name);
    let publisher = service.publisher_builder().max_loaned_samples(1).initial_max_slice_len(len);
    publisher.create().expect("a port is made")
}

pub fn array_inbox(node: &Node<ipc::Service>, name: &str) -> ArrayInbox {
    arrays(node, name).subscriber_builder().create().expect("a port is made")
}
