#[allow(dead_code, clippy::too_many_arguments)]
async fn remove(id: u64) -> ::flash_sdk::Result<()> {
    ::flash_sdk::__private::call::<__flash_remove>((id,)).await
}
///Other ways to call `remove`.
#[allow(
    dead_code,
    unused_imports,
    unused_qualifications,
    clippy::module_inception,
    clippy::wildcard_imports
)]
mod remove {
    use super::*;
    use super::__remote_function_remove_stands_in_a_module_not_inside_another_function as __flash_remove;
    #[doc(hidden)]
    #[allow(
        dead_code,
        unused_variables,
        clippy::too_many_arguments,
        clippy::unused_async
    )]
    pub(super) async fn spawn(id: u64) -> ::flash_sdk::Result<::flash_sdk::JobHandle<()>>
    where
        for<'never> ::flash_sdk::__private::ARoute: ::flash_sdk::__private::MakesJobs<
            'never,
        >,
    {
        ::core::unreachable!("its bound is never met")
    }
    ///Calls `remove` once per item, 16 calls at a time.
    ///
    /// Results arrive as they are ready, each with the index of its item. If no worker is free, more start at
    /// once, without waiting for `queue_delay`: as many as `workers` allows, each with `max_concurrency` calls.
    #[allow(dead_code, clippy::type_complexity)]
    pub(super) fn map(
        items: impl ::core::iter::IntoIterator<
            Item = u64,
            IntoIter: ::core::marker::Send,
        >,
    ) -> impl ::flash_sdk::__private::Stream<
        Item = (usize, ::flash_sdk::Result<()>),
    > + ::core::marker::Send {
        map_with(items, ::flash_sdk::__private::MAP_CONCURRENCY)
    }
    ///Calls `remove` once per item, `concurrency` calls at a time.
    ///
    /// Results arrive as they are ready, each with the index of its item. If no worker is free, more start at
    /// once, without waiting for `queue_delay`: as many as `workers` allows, each with `max_concurrency` calls.
    #[allow(dead_code, clippy::type_complexity)]
    pub(super) fn map_with(
        items: impl ::core::iter::IntoIterator<
            Item = u64,
            IntoIter: ::core::marker::Send,
        >,
        concurrency: usize,
    ) -> impl ::flash_sdk::__private::Stream<
        Item = (usize, ::flash_sdk::Result<()>),
    > + ::core::marker::Send {
        ::flash_sdk::__private::map::<
            __flash_remove,
            _,
        >(
            ::core::iter::Iterator::map(
                ::core::iter::IntoIterator::into_iter(items),
                |item| (item,),
            ),
            concurrency,
        )
    }
    ///Options of a call of `remove`: timeout, priority, environment, …
    #[allow(dead_code, clippy::type_complexity)]
    pub(super) fn options() -> ::flash_sdk::CallOptions<
        ::flash_sdk::__private::DirectCall<u64, ()>,
    > {
        ::flash_sdk::__private::direct_call::<__flash_remove>()
    }
    ///Options of a call of `remove` in another environment, by its name or URL.
    #[allow(dead_code, clippy::type_complexity)]
    pub(super) fn at(
        environment: impl ::core::convert::Into<::std::string::String>,
    ) -> ::flash_sdk::CallOptions<::flash_sdk::__private::DirectCall<u64, ()>> {
        ::flash_sdk::__private::direct_call::<__flash_remove>().at(environment)
    }
    ///Runs `remove` in this process, wherever it is deployed.
    ///
    /// # Errors
    /// When the function fails.
    #[allow(dead_code, clippy::too_many_arguments)]
    pub(super) async fn local(id: u64) -> ::flash_sdk::Result<()> {
        <__flash_remove as ::flash_sdk::__private::RemoteFunction>::run((id,)).await
    }
}
#[doc(hidden)]
#[allow(non_camel_case_types)]
struct __flash_remove;
impl ::flash_sdk::__private::RemoteFunction for __flash_remove {
    type Args = (u64,);
    type Output = ();
    fn descriptor() -> &'static ::flash_sdk::__private::Function {
        static FUNCTION: ::flash_sdk::__private::Function = ::flash_sdk::__private::Function {
            name: "remove",
            owner: ::core::option::Option::None,
            module_path: ::core::module_path!(),
            file: ::core::file!(),
            line: ::core::line!(),
            docs: ::core::concat!(),
            resource: ::flash_sdk::__private::Resource::Declared(crate::PIPELINE),
            route: ::core::option::Option::Some(::flash_sdk::__private::Route {
                method: "DELETE",
                path: "/items/{id}",
            }),
            settings: ::flash_sdk::__private::FunctionSettings::new(),
            arguments: &[::flash_sdk::__private::Argument::of::<u64>("id")],
            output: ::flash_sdk::__private::Output::of::<()>(),
            handler: ::flash_sdk::__private::once::<__flash_remove>(),
            lifecycle: ::core::option::Option::None,
            binding: ::flash_sdk::__private::OnceLock::new(),
        };
        &FUNCTION
    }
    #[allow(refining_impl_trait, clippy::useless_conversion, clippy::needless_borrow)]
    fn run(
        (id,): Self::Args,
    ) -> ::flash_sdk::__private::BoxFuture<'static, ::flash_sdk::Result<()>> {
        ::std::boxed::Box::pin(async move {
            let __flash_run = move || {
                let __flash_outcome = __flash_local_remove(id);
                __flash_outcome
                    .map_err(|__flash_error| {
                        use ::flash_sdk::__private::ways::*;
                        (&&&&&look(&__flash_error)).__flash_way().error(__flash_error)
                    })
            };
            ::flash_sdk::__private::blocking(__flash_run).await
        })
    }
}
::flash_sdk::__private::inventory::submit! {
    ::flash_sdk::__private::Registered { function : < __flash_remove as
    ::flash_sdk::__private::RemoteFunction > ::descriptor, #[allow(deprecated)] item : ||
    ::flash_sdk::__private::type_of(& remove), }
}
#[doc(hidden)]
#[allow(non_camel_case_types, dead_code)]
type __remote_function_remove_stands_in_a_module_not_inside_another_function = __flash_remove;
fn __flash_local_remove(id: u64) -> std::io::Result<()> {
    Ok(())
}
