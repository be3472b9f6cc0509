//! The runtime that a process's remote locations share: the rooms above wait in their own threads, the network doesn't.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use tokio::runtime::{Builder, Runtime};

/// A small runtime; clones are the same one.
#[derive(Clone)]
pub struct Network(Arc<Shared>);

struct Shared(Option<Runtime>);

impl Drop for Shared {
    fn drop(&mut self) {
        // The last clone may end on another runtime's thread, where waiting for this one is not allowed.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Network {
    pub fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(2).thread_name("network").enable_all().build()?;
        Ok(Self(Arc::new(Shared(Some(runtime)))))
    }

    /// Does `work` on this runtime's network and clock, and waits for it in the calling thread, which may itself be one of
    /// another runtime's.
    pub fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        let _entered = self.0.0.as_ref().map(Runtime::enter);
        let waker = Waker::from(Arc::new(Parked(thread::current())));
        let mut work = pin!(work);
        loop {
            match work.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(done) => return done,
                Poll::Pending => thread::park(),
            }
        }
    }

    /// Goes on by itself.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.0.0 {
            drop(runtime.spawn(work));
        }
    }
}

/// A thread that waits.
struct Parked(Thread);

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
