//! The scope of a test: its fakes, and its runtime.
use std::sync::Arc;

use crate::{
    context::{Context, Setup},
    substitutes::Substitutes,
};

/// Runs a future with fakes of its own: those that it makes with [`fake`](super::fake) answer its calls only, and fakes
/// around it do not reach into it.
///
/// [`#[flash_sdk::test]`](macro@crate::test) does this. Use it in tests of another runtime:
///
/// ```
/// use flash_sdk::testing;
///
/// # /*
/// #[tokio::test(flavor = "multi_thread")]
/// # */
/// # #[flash_sdk::main]
/// async fn main() {
///     testing::scope(async {
///         // fakes, calls and assertions
///     })
///     .await;
/// }
/// ```
pub fn scope<F: Future>(test: F) -> impl Future<Output = F::Output> {
    within(Substitutes::default(), test)
}

/// Runs a future with these substitutes.
pub(super) fn within<F: Future>(substitutes: Substitutes, test: F) -> impl Future<Output = F::Output> {
    let substitutes = Some(Arc::new(substitutes));
    Context::new(Setup { substitutes, ..Setup::default() }).scope(test)
}

/// The substitutes of the current test.
///
/// # Panics
/// Outside a test. `what` begins the message.
#[track_caller]
pub(super) fn substitutes(what: &str) -> Arc<Substitutes> {
    Context::substitutes().unwrap_or_else(|| {
        panic!(
            "{what} outside a test: put `#[flash_sdk::test]` on it or run it within `flash_sdk::testing::scope`; in a \
             task or thread that the test started, carry the test over with `Context::current()` and its `scope` or \
             `sync_scope`"
        )
    })
}

/// Runs a whole test on a runtime of its own.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a test can start a runtime").block_on(scope(test))
}
