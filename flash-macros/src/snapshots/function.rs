#[cfg(unix)]
/// Says hello.
///
/// Twice.
#[allow(unused_mut)]
#[allow(dead_code, clippy::too_many_arguments)]
pub async fn hello(
    name: String,
    at: self::Place,
) -> ::flash_sdk::Result<super::Greeting> {
    ::flash_sdk::__private::call::<__flash_hello>((name, at)).await
}
#[cfg(unix)]
///Other ways to call `hello`.
#[allow(
    dead_code,
    unused_imports,
    unused_qualifications,
    clippy::module_inception,
    clippy::wildcard_imports
)]
pub mod hello {
    use super::*;
    use super::__remote_function_hello_stands_in_a_module_not_inside_another_function as __flash_hello;
    #[cfg(unix)]
    ///Submits a call of `hello` as a job and returns without waiting for its result.
    ///
    /// # Errors
    /// When the job could not be submitted.
    #[allow(dead_code, clippy::too_many_arguments)]
    pub async fn spawn(
        name: String,
        at: super::Place,
    ) -> ::flash_sdk::Result<::flash_sdk::JobHandle<super::super::Greeting>> {
        ::flash_sdk::__private::spawn::<__flash_hello>((name, at)).await
    }
    #[cfg(unix)]
    ///Calls `hello` once per item, 16 calls at a time.
    ///
    /// Results arrive as they are ready, each with the index of its item. If no worker is free, more start at
    /// once, without waiting for `queue_delay`: as many as `workers` allows, each with `max_concurrency` calls.
    #[allow(dead_code, clippy::type_complexity)]
    pub fn map(
        items: impl ::core::iter::IntoIterator<
            Item = (String, super::Place),
            IntoIter: ::core::marker::Send,
        >,
    ) -> impl ::flash_sdk::__private::Stream<
        Item = (usize, ::flash_sdk::Result<super::super::Greeting>),
    > + ::core::marker::Send {
        map_with(items, ::flash_sdk::__private::MAP_CONCURRENCY)
    }
    #[cfg(unix)]
    ///Calls `hello` once per item, `concurrency` calls at a time.
    ///
    /// Results arrive as they are ready, each with the index of its item. If no worker is free, more start at
    /// once, without waiting for `queue_delay`: as many as `workers` allows, each with `max_concurrency` calls.
    #[allow(dead_code, clippy::type_complexity)]
    pub fn map_with(
        items: impl ::core::iter::IntoIterator<
            Item = (String, super::Place),
            IntoIter: ::core::marker::Send,
        >,
        concurrency: usize,
    ) -> impl ::flash_sdk::__private::Stream<
        Item = (usize, ::flash_sdk::Result<super::super::Greeting>),
    > + ::core::marker::Send {
        ::flash_sdk::__private::map::<__flash_hello, _>(items, concurrency)
    }
    #[cfg(unix)]
    ///Options of a call of `hello`: timeout, priority, environment, …
    #[allow(dead_code, clippy::type_complexity)]
    pub fn options() -> ::flash_sdk::CallOptions<
        ::flash_sdk::__private::Job<(String, super::Place), super::super::Greeting>,
    > {
        ::flash_sdk::__private::job::<__flash_hello>()
    }
    #[cfg(unix)]
    ///Options of a call of `hello` in another environment, by its name or URL.
    #[allow(dead_code, clippy::type_complexity)]
    pub fn at(
        environment: impl ::core::convert::Into<::std::string::String>,
    ) -> ::flash_sdk::CallOptions<
        ::flash_sdk::__private::Job<(String, super::Place), super::super::Greeting>,
    > {
        ::flash_sdk::__private::job::<__flash_hello>().at(environment)
    }
    #[cfg(unix)]
    ///A job of `hello` that was submitted before, by its ID.
    ///
    /// # Errors
    /// Without a platform, because then a job is known only by the handle that `spawn` returned.
    #[allow(dead_code)]
    pub fn handle(
        id: impl ::core::convert::Into<::std::string::String>,
    ) -> ::flash_sdk::Result<::flash_sdk::JobHandle<super::super::Greeting>> {
        ::flash_sdk::__private::job::<__flash_hello>().handle(id)
    }
    #[cfg(unix)]
    ///Runs `hello` in this process, wherever it is deployed.
    ///
    /// # Errors
    /// When the function fails.
    #[allow(dead_code, clippy::too_many_arguments)]
    pub async fn local(
        name: String,
        at: super::Place,
    ) -> ::flash_sdk::Result<super::super::Greeting> {
        <__flash_hello as ::flash_sdk::__private::RemoteFunction>::run((name, at)).await
    }
}
#[cfg(unix)]
#[doc(hidden)]
#[allow(non_camel_case_types)]
struct __flash_hello;
#[cfg(unix)]
impl ::flash_sdk::__private::RemoteFunction for __flash_hello {
    type Args = (String, self::Place);
    type Output = super::Greeting;
    fn descriptor() -> &'static ::flash_sdk::__private::Function {
        static FUNCTION: ::flash_sdk::__private::Function = ::flash_sdk::__private::Function {
            name: "hello",
            owner: ::core::option::Option::None,
            module_path: ::core::module_path!(),
            file: ::core::file!(),
            line: ::core::line!(),
            docs: ::core::concat!("Says hello.", "\n", "", "\n", "Twice.", "\n"),
            resource: ::flash_sdk::__private::Resource::Declared(
                ::flash_sdk::ResourceConfig::model(
                    ::flash_sdk::ResourceConfig::new("hello")
                        .cpus(
                            &[
                                ::flash_sdk::CpuInstance::Cpu3g_2_8,
                                ::flash_sdk::CpuInstance::Cpu3c_2_4,
                            ],
                        )
                        .workers(0u32..=10u32)
                        .idle_timeout(3u32)
                        .execution_timeout(30u32)
                        .start_timeout(1200u32)
                        .max_concurrency(8u32)
                        .queue_delay(2u32)
                        .data_centers(&[::flash_sdk::DataCenter::EuRo1])
                        .disk_gib(64u32)
                        .shm_mib(512u32),
                    "org/name@v1",
                    &["*.safetensors", "tokenizer.json"],
                ),
            ),
            route: ::core::option::Option::None,
            settings: ::flash_sdk::__private::FunctionSettings::new()
                .retries(
                    ::flash_sdk::__private::Retries::new(3u32).backoff(2u32, 30u32),
                ),
            arguments: &[
                ::flash_sdk::__private::Argument::of::<String>("name"),
                ::flash_sdk::__private::Argument::of::<self::Place>("at"),
            ],
            output: ::flash_sdk::__private::Output::of::<super::Greeting>(),
            handler: ::flash_sdk::__private::once::<__flash_hello>(),
            lifecycle: ::core::option::Option::None,
            binding: ::flash_sdk::__private::OnceLock::new(),
        };
        &FUNCTION
    }
    #[allow(refining_impl_trait, clippy::useless_conversion, clippy::needless_borrow)]
    fn run(
        (name, at): Self::Args,
    ) -> ::flash_sdk::__private::BoxFuture<
        'static,
        ::flash_sdk::Result<super::Greeting>,
    > {
        ::std::boxed::Box::pin(async move {
            let __flash_outcome = __flash_local_hello(name, at).await;
            __flash_outcome
                .map_err(|__flash_error| {
                    use ::flash_sdk::__private::ways::*;
                    (&&&&&look(&__flash_error)).__flash_way().error(__flash_error)
                })
        })
    }
}
#[cfg(unix)]
::flash_sdk::__private::inventory::submit! {
    ::flash_sdk::__private::Registered { function : < __flash_hello as
    ::flash_sdk::__private::RemoteFunction > ::descriptor, #[allow(deprecated)] item : ||
    ::flash_sdk::__private::type_of(& hello), }
}
#[cfg(unix)]
#[doc(hidden)]
#[allow(non_camel_case_types, dead_code)]
type __remote_function_hello_stands_in_a_module_not_inside_another_function = __flash_hello;
#[cfg(unix)]
#[expect(unused_mut)]
#[instrument]
async fn __flash_local_hello(
    mut name: String,
    at: self::Place,
) -> Result<super::Greeting> {
    Ok(super::Greeting { name })
}
