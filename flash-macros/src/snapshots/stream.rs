#[allow(dead_code, clippy::too_many_arguments)]
pub(super) fn words(
    text: String,
) -> impl ::flash_sdk::__private::Stream<
    Item = ::flash_sdk::Result<String>,
> + ::core::marker::Send + ::core::marker::Unpin {
    ::flash_sdk::__private::stream::<__flash_words>((text,))
}
///Other ways to call `words`.
#[allow(
    dead_code,
    unused_imports,
    unused_qualifications,
    clippy::module_inception,
    clippy::wildcard_imports
)]
pub(super) mod words {
    use super::*;
    use super::__remote_function_words_stands_in_a_module_not_inside_another_function as __flash_words;
    #[doc(hidden)]
    #[allow(
        dead_code,
        unused_variables,
        clippy::too_many_arguments,
        clippy::unused_async
    )]
    pub(in super::super) async fn spawn(
        text: String,
    ) -> ::flash_sdk::Result<::flash_sdk::JobHandle<String>>
    where
        for<'never> ::flash_sdk::__private::AStream: ::flash_sdk::__private::MakesJobs<
            'never,
        >,
    {
        ::core::unreachable!("its bound is never met")
    }
    ///Options of a call of `words`: timeout, priority, environment, …
    #[allow(dead_code, clippy::type_complexity)]
    pub(in super::super) fn options() -> ::flash_sdk::CallOptions<
        ::flash_sdk::__private::StreamingJob<String, String>,
    > {
        ::flash_sdk::__private::streaming_job::<__flash_words>()
    }
    ///Options of a call of `words` in another environment, by its name or URL.
    #[allow(dead_code, clippy::type_complexity)]
    pub(in super::super) fn at(
        environment: impl ::core::convert::Into<::std::string::String>,
    ) -> ::flash_sdk::CallOptions<::flash_sdk::__private::StreamingJob<String, String>> {
        ::flash_sdk::__private::streaming_job::<__flash_words>().at(environment)
    }
    ///Runs `words` in this process, wherever it is deployed.
    #[allow(dead_code, clippy::too_many_arguments)]
    pub(in super::super) fn local(
        text: String,
    ) -> impl ::flash_sdk::__private::Stream<
        Item = ::flash_sdk::Result<String>,
    > + ::core::marker::Send + ::core::marker::Unpin {
        <__flash_words as ::flash_sdk::__private::RemoteStream>::run((text,))
    }
}
#[doc(hidden)]
#[allow(non_camel_case_types)]
struct __flash_words;
impl ::flash_sdk::__private::RemoteStream for __flash_words {
    type Args = (String,);
    type Item = String;
    fn descriptor() -> &'static ::flash_sdk::__private::Function {
        static FUNCTION: ::flash_sdk::__private::Function = ::flash_sdk::__private::Function {
            name: "words",
            owner: ::core::option::Option::None,
            module_path: ::core::module_path!(),
            file: ::core::file!(),
            line: ::core::line!(),
            docs: ::core::concat!(),
            resource: ::flash_sdk::__private::Resource::Declared(
                ::flash_sdk::ResourceConfig::new("words")
                    .gpus(
                        &[::flash_sdk::GpuPool::Ada24],
                        &[::flash_sdk::GpuType::Rtx4090],
                    )
                    .gpu_count(2u32)
                    .workers(0u32..=3u32)
                    .request_count(4u32),
            ),
            route: ::core::option::Option::None,
            settings: ::flash_sdk::__private::FunctionSettings::new(),
            arguments: &[::flash_sdk::__private::Argument::of::<String>("text")],
            output: ::flash_sdk::__private::Output::of::<String>(),
            handler: ::flash_sdk::__private::streaming::<__flash_words>(),
            lifecycle: ::core::option::Option::None,
            binding: ::flash_sdk::__private::OnceLock::new(),
        };
        &FUNCTION
    }
    #[allow(refining_impl_trait, clippy::useless_conversion, clippy::needless_borrow)]
    fn run(
        (text,): Self::Args,
    ) -> ::core::pin::Pin<
        ::std::boxed::Box<
            dyn ::flash_sdk::__private::Stream<
                Item = ::flash_sdk::Result<String>,
            > + ::core::marker::Send,
        >,
    > {
        ::std::boxed::Box::pin(
            ::flash_sdk::__private::chunks(
                __flash_local_words(text),
                |__flash_chunk| {
                    __flash_chunk
                        .map_err(|__flash_error| {
                            use ::flash_sdk::__private::ways::*;
                            (&&&&&look(&__flash_error))
                                .__flash_way()
                                .error(__flash_error)
                        })
                },
            ),
        )
    }
}
::flash_sdk::__private::inventory::submit! {
    ::flash_sdk::__private::Registered { function : < __flash_words as
    ::flash_sdk::__private::RemoteStream > ::descriptor, #[allow(deprecated)] item : ||
    ::flash_sdk::__private::type_of(& words), }
}
#[doc(hidden)]
#[allow(non_camel_case_types, dead_code)]
type __remote_function_words_stands_in_a_module_not_inside_another_function = __flash_words;
fn __flash_local_words(text: String) -> impl Stream<Item = Result<String>> + Send {
    todo!()
}
