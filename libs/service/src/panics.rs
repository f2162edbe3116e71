//! What becomes of a panic: the program ends non-zero after its drain, and never lives on half
//! dead. Only what runs inside `contain` may panic without taking the program along.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use crate::Service;

thread_local! {
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// The contained work panicked; the panic has been logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Panicked;

/// Runs `work` so that its panic ends it alone: for one request of many, say, which must not stop
/// the others.
///
/// # Errors
/// `Panicked`, where `work` did.
pub async fn contain<T>(work: impl Future<Output = T>) -> Result<T, Panicked> {
    let mut work = pin!(work);
    std::future::poll_fn(move |context| {
        let outer = CONTAINED.replace(true);
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)));
        CONTAINED.set(outer);
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    })
    .await
}

/// Every panic of the process is logged as other events are; one that nothing contains ends
/// `service`.
pub(crate) fn watch(service: Service) {
    std::panic::set_hook(Box::new(move |panic| {
        let message = panic.payload_as_str().unwrap_or("(no message)");
        let location = panic.location().map_or_else(String::new, ToString::to_string);
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or_default();
        let backtrace = std::backtrace::Backtrace::capture();
        let backtrace = (backtrace.status() == std::backtrace::BacktraceStatus::Captured)
            .then(|| backtrace.to_string());
        tracing::error!(location, thread, backtrace, "panicked: {message}");
        if !CONTAINED.get() {
            service.fail_quietly();
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contained_panic_ends_its_work_alone() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let panicked = runtime.block_on(contain(async {
            tokio::task::yield_now().await;
            assert!(std::hint::black_box(false), "on purpose");
        }));
        assert_eq!(panicked, Err(Panicked));
        assert_eq!(runtime.block_on(contain(async { 7 })), Ok(7));
        assert!(!CONTAINED.get());
    }
}
