//! A thread with an async runtime, for callers that have none, or that must not block the one they have.

use std::{future::Future, sync::mpsc, thread};

use tokio::{runtime::Handle, sync::oneshot};

use crate::error::{Error, Result};

/// The thread; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Background {
    handle: Handle,
    _stop: oneshot::Sender<()>,
}

impl Background {
    pub(super) fn start() -> Result<Self> {
        let failed = |e: std::io::Error| Error::Thread { cause: e.to_string() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let run = move || {
            // An error is the end too: nobody holds the other half any more.
            drop(runtime.block_on(stopped));
        };
        thread::Builder::new().name("schemadiff".to_owned()).spawn(run).map_err(failed)?;
        Ok(Self { handle, _stop: stop })
    }

    /// Runs a future on the thread and waits for its end, on whatever thread this one is.
    pub(super) fn wait<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> Result<T> {
        let (done, wait) = mpsc::sync_channel(1);
        self.handle.spawn(async move {
            // Nobody waits any more only if the waiting thread is gone.
            let _ = done.send(future.await);
        });
        wait.recv()
            .map_err(|_| Error::Thread { cause: "it ended before its work was done; its panic is above".to_owned() })
    }
}
