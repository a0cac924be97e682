//! Threads for computation that must not take the processor from requests.

/// Runs a future on a thread of its own, so that its computation does not block the web.
pub fn on_own_thread<T: Send + 'static>(
    name: &'static str,
    work: impl Future<Output = T> + Send + 'static,
) -> tokio::sync::oneshot::Receiver<T> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let runtime = tokio::runtime::Handle::current();
    let thread = std::thread::Builder::new().name(name.to_owned());
    if let Err(e) = thread.spawn(move || {
        lower_priority();
        let _ = sender.send(runtime.block_on(work));
    }) {
        tracing::error!("cannot start the thread {name}: {e}");
    }
    receiver
}

/// Lowers the priority of this thread to about a tenth of the processor if requests need it too.
/// Judging may lag; accepting posts may not. The backlog of a burst is judged afterwards.
#[cfg(target_os = "linux")]
pub fn lower_priority() {
    // Linux applies niceness per thread, so this does not affect the whole process.
    if let Err(e) = rustix::process::setpriority_process(None, 10) {
        tracing::debug!("cannot lower the priority of a thread: {e}");
    }
}

/// Does nothing: on other systems a priority is that of the whole process, or does not exist.
#[cfg(not(target_os = "linux"))]
pub fn lower_priority() {}
