//! Fakes: closures that answer the calls of one test.
use std::{
    any::{TypeId, type_name},
    fmt,
    marker::PhantomData,
    sync::Arc,
};

use parking_lot::Mutex;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::{RawValue, to_raw_value};

use super::{
    callable::{Callable, Reply},
    scope,
};
use crate::descriptor::{Function, Registered};

/// Answers calls of a `#[remote]` function with a closure, until the end of the current test.
///
/// `function` is the function by its name, or `Type::method`. `reply` receives the argument, or a tuple if there are
/// several, as `map` takes them. It returns a future of the function's `Result`; for a streaming function, a stream.
/// So a fake can succeed, fail, panic, never end (`|_| std::future::pending()`) or count its calls to do one after the
/// other:
///
/// ```
/// use flash_sdk::{Error, Result, remote, testing::fake};
///
/// #[remote(cpu = Cpu3c_1_2)]
/// async fn add(left: u32, right: u32) -> Result<u32> {
///     Ok(left + right)
/// }
///
/// # fn main() -> Result<()> { flash_sdk::__private::test(test()) }
/// # async fn test() -> Result<()> {
/// let added = fake(add, |(left, right)| async move {
///     left.checked_sub(right).ok_or_else(|| Error::invalid_input("/right", "too much"))
/// });
/// assert_eq!(add(3, 2).await?, 1);
/// assert!(add::spawn(2, 3).await?.wait().await.is_err());
/// assert_eq!(added.inputs(), [(3, 2), (2, 3)]);
/// # Ok(())
/// # }
/// ```
///
/// The fake answers direct calls, `spawn`, `map` and streams, also those of functions that the test calls, in jobs and
/// on blocking threads. It does not replace `f::local`, which is the function's own code, and it does not reach into
/// the processes of a [`Platform`](super::Platform). As in any call within a process, values must be writable as JSON, and errors and panics name the
/// function. A second fake of the same function replaces the first. Dropping the returned
/// handle changes nothing.
///
/// # Panics
/// Outside a test, and if `function` is not a `#[remote]` function (for example `hello::local`).
#[track_caller]
pub fn fake<F, Args, Kind, Returned>(
    function: F,
    reply: impl Fn(F::Input) -> Returned + Send + Sync + 'static,
) -> Fake<F::Input>
where
    F: Callable<Args, Kind> + 'static,
    Args: 'static,
    Returned: Reply<Kind, F::Output>,
{
    drop(function);
    let substitutes = scope::substitutes("a fake was made");
    let descriptor = descriptor_of::<F>();
    let inputs = Arc::new(Inputs::default());
    let recorded = inputs.clone();
    let fake = Returned::fake(move |args| {
        let input = F::input(args);
        recorded.push(&input);
        reply(input)
    });
    substitutes.set_fake(descriptor, fake);
    Fake { inputs, function: descriptor, input: PhantomData }
}

/// Finds a `#[remote]` function by the type of its item.
#[track_caller]
fn descriptor_of<F: 'static>() -> &'static Function {
    let registered = inventory::iter::<Registered>
        .into_iter()
        .find(|registered| (registered.item)() == TypeId::of::<F>())
        .unwrap_or_else(|| {
            let name = type_name::<F>();
            panic!("`{name}` is not a `#[remote]` function: nothing would call its fake. Name the function itself")
        });
    (registered.function)()
}

/// The inputs of the calls so far, in order of the calls. They are kept as JSON, because they need not be `Clone`.
#[derive(Default)]
struct Inputs(Mutex<Vec<Box<RawValue>>>);

impl Inputs {
    fn push(&self, input: &impl Serialize) {
        let input = to_raw_value(input).expect("arguments are checked before a call runs");
        self.0.lock().push(input);
    }
}

/// Looks into a fake. See [`fake`].
pub struct Fake<Input> {
    inputs: Arc<Inputs>,
    function: &'static Function,
    input: PhantomData<fn() -> Input>,
}

impl<Input> Fake<Input> {
    /// How many calls it has taken so far, including those that have not ended.
    pub fn calls(&self) -> usize {
        self.inputs.0.lock().len()
    }
}

impl<Input: DeserializeOwned> Fake<Input> {
    /// The inputs of these calls, in order: the argument, or a tuple of several.
    ///
    /// # Panics
    /// If an input cannot be read back from its own JSON. It would not reach a worker either.
    #[track_caller]
    pub fn inputs(&self) -> Vec<Input> {
        let inputs = self.inputs.0.lock();
        let read = |input: &RawValue| {
            serde_json::from_str(input.get()).unwrap_or_else(|error| {
                panic!(
                    "an input of `{}` cannot be read from its own JSON: {error}",
                    self.function.call_name()
                )
            })
        };
        inputs.iter().map(|input| read(input)).collect()
    }
}

impl<Input> fmt::Debug for Fake<Input> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let function = self.function.call_name();
        f.debug_struct("Fake").field("function", &function).field("calls", &self.calls()).finish()
    }
}
