//! What can be faked, as the compiler sees it: the function that users call, and what a fake of it returns.
use std::{any::Any, sync::Arc};

use flash_protocol::Result;
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    arguments::Wire,
    substitutes::{FakeResult, FakeStream},
};

/// A function that returns one result.
#[derive(Debug, Clone, Copy)]
pub enum OneResult {}

/// A function that streams.
#[derive(Debug, Clone, Copy)]
pub enum Streamed {}

/// A function that [`fake`](super::fake) can replace: any `#[remote]` function or method, by its name. `Args` and
/// `Kind` are found by the compiler.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be faked",
    label = "must be the name of a `#[remote]` function",
    note = "name the function itself: `fake(hello, |name| async move {{ … }})`, or `Type::method` for a method"
)]
pub trait Callable<Args, Kind> {
    /// What a fake receives: the argument, or a tuple of several.
    type Input: Serialize + DeserializeOwned + Send + 'static;
    /// The result, or one chunk of a stream.
    type Output: Wire;

    /// The arguments as a fake receives them.
    #[doc(hidden)]
    fn input(args: Args) -> Self::Input;
}

/// What a fake returns: a future of `Result<Output>` or, for a streaming function, a stream of `Result<Output>`. Both
/// are `Send` and `'static`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not what the faked function returns",
    label = "expected a future of `Result<{Output}>`, or a stream of `Result<{Output}>` if the function streams",
    note = "a fake returns a future, as in `|input| async move {{ Ok(…) }}`, or a stream, as in `|input| stream::iter([Ok(…)])`"
)]
pub trait Reply<Kind, Output>: Send + 'static {
    /// The fake that replies so, as [`Substitutes`](crate::substitutes::Substitutes) keeps it.
    #[doc(hidden)]
    fn fake<A: 'static>(reply: impl Fn(A) -> Self + Send + Sync + 'static) -> Arc<dyn Any + Send + Sync>;
}

impl<F, T> Reply<OneResult, T> for F
where
    F: Future<Output = Result<T>> + Send + 'static,
    T: 'static,
{
    fn fake<A: 'static>(reply: impl Fn(A) -> Self + Send + Sync + 'static) -> Arc<dyn Any + Send + Sync> {
        Arc::new(FakeResult::<A, T>(Box::new(move |args| reply(args).boxed())))
    }
}

impl<S, T> Reply<Streamed, T> for S
where
    S: Stream<Item = Result<T>> + Send + 'static,
    T: 'static,
{
    fn fake<A: 'static>(reply: impl Fn(A) -> Self + Send + Sync + 'static) -> Arc<dyn Any + Send + Sync> {
        Arc::new(FakeStream::<A, T>(Box::new(move |args| reply(args).boxed())))
    }
}

macro_rules! callable {
    ($(($($type:ident),*) => $input:ty;)+) => {$(
        callable!(@ ($($type),*) $input, OneResult, Returned: Future<Output = Result<Output>>);
        callable!(@ ($($type),*) $input, Streamed, Returned: Stream<Item = Result<Output>>);
    )+};
    (@ ($($type:ident),*) $input:ty, $kind:ident, Returned: $($returned:tt)+) => {
        impl<Function, Returned, Output, $($type),*> Callable<($($type,)*), $kind> for Function
        where
            Function: Fn($($type),*) -> Returned,
            Returned: $($returned)+,
            Output: Wire,
            $($type: Wire,)*
        {
            type Input = $input;
            type Output = Output;

            #[allow(non_snake_case, reason = "an argument is named as its type")]
            #[allow(clippy::unused_unit, reason = "no argument is a unit")]
            fn input(($($type,)*): ($($type,)*)) -> Self::Input {
                // In parentheses alone, a single argument is itself and several are a tuple.
                ($($type),*)
            }
        }
    };
}

callable! {
    () => ();
    (A) => A;
    (A, B) => (A, B);
    (A, B, C) => (A, B, C);
    (A, B, C, D) => (A, B, C, D);
    (A, B, C, D, E) => (A, B, C, D, E);
    (A, B, C, D, E, F) => (A, B, C, D, E, F);
    (A, B, C, D, E, F, G) => (A, B, C, D, E, F, G);
    (A, B, C, D, E, F, G, H) => (A, B, C, D, E, F, G, H);
}
