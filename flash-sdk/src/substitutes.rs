//! What answers the calls of one test instead of the functions of its process: fakes, and a platform that it started.
//!
//! They are part of the [`Context`](crate::Context) and so go wherever that goes: into calls, jobs and threads of this
//! process. Workers have none. `testing` makes them, `function` and `call` look for them.
use std::{any::Any, collections::HashMap, ptr, sync::Arc};

use flash_protocol::Result;
use futures_util::{future::BoxFuture, stream::BoxStream};
use parking_lot::Mutex;

use crate::descriptor::Function;

/// A fake of a function with one result.
pub(crate) struct FakeResult<A, T>(pub(crate) Box<dyn Fn(A) -> BoxFuture<'static, Result<T>> + Send + Sync>);

/// A fake of a streaming function.
pub(crate) struct FakeStream<A, T>(pub(crate) Box<dyn Fn(A) -> BoxStream<'static, Result<T>> + Send + Sync>);

/// The substitutes of one test.
#[derive(Default)]
pub(crate) struct Substitutes {
    /// By the address of the function's descriptor, of which there is one. Each is a [`FakeResult`] or [`FakeStream`]
    /// of the function's types.
    fakes: Mutex<HashMap<usize, Arc<dyn Any + Send + Sync>>>,
    /// The way to a platform; its type belongs to `call`.
    platform: Mutex<Option<Arc<dyn Any + Send + Sync>>>,
}

impl Substitutes {
    /// Replaces a function, or its former fake.
    pub(crate) fn set_fake(&self, function: &'static Function, fake: Arc<dyn Any + Send + Sync>) {
        self.fakes.lock().insert(key(function), fake);
    }

    /// Whether this function has a fake.
    pub(crate) fn has_fake(&self, function: &Function) -> bool {
        self.fakes.lock().contains_key(&key(function))
    }

    /// The fake of this function.
    pub(crate) fn fake<T: Any + Send + Sync>(&self, function: &'static Function) -> Option<Arc<T>> {
        let fake = self.fakes.lock().get(&key(function)).cloned()?;
        Some(fake.downcast().expect("the macro gives the function and its marker the same types"))
    }

    /// Sets where functions without a fake run; `None` for this process.
    pub(crate) fn set_platform(&self, platform: Option<Arc<dyn Any + Send + Sync>>) {
        *self.platform.lock() = platform;
    }

    /// Where functions without a fake run; `None` for this process.
    pub(crate) fn platform<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let platform = self.platform.lock().clone()?;
        Some(platform.downcast().expect("the only platform is the peers of `call`"))
    }
}

fn key(function: &Function) -> usize {
    ptr::from_ref(function).addr()
}
