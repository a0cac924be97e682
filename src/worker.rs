//! Threads for work that must not take the processor from requests.

/// Judging is plain computation: on a thread of its own it never holds up the web.
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
        tracing::error!("the thread {name} cannot start: {e}");
    }
    receiver
}

/// Judging may lag for a while, taking may not: where both want the processor, this thread gets
/// about a tenth. What posts bring in a burst is judged right after it.
#[cfg(target_os = "linux")]
pub fn lower_priority() {
    // Linux counts niceness by thread: this is not the process's.
    if let Err(e) = rustix::process::setpriority_process(None, 10) {
        tracing::debug!("the processor keeps its priority: {e}");
    }
}

/// Elsewhere niceness is the whole process's, or not there at all.
#[cfg(not(target_os = "linux"))]
pub fn lower_priority() {}
