impl Sentiment {
    const LABELS: usize = 3;
    fn load() -> Result<Self> {
        Ok(Self)
    }
    fn label(&self, text: String) -> Label {
        todo!()
    }
    pub fn helper(text: String) -> Label {
        todo!()
    }
    #[doc(hidden)]
    #[allow(dead_code)]
    fn __flash_cell() -> &'static ::flash_sdk::__private::Instance<Self> {
        static INSTANCE: ::flash_sdk::__private::Instance<Sentiment> = ::flash_sdk::__private::Instance::new();
        &INSTANCE
    }
    #[doc(hidden)]
    #[allow(dead_code, clippy::useless_conversion, clippy::needless_borrow)]
    async fn __flash_instance() -> ::flash_sdk::Result<::std::sync::Arc<Self>> {
        Self::__flash_cell()
            .get(|| ::flash_sdk::__private::blocking(|| {
                Self::load()
                    .map_err(|__flash_error| {
                        use ::flash_sdk::__private::ways::*;
                        (&&&&&look(&__flash_error)).__flash_way().error(__flash_error)
                    })
            }))
            .await
    }
    #[doc(hidden)]
    #[allow(dead_code, clippy::useless_conversion, clippy::needless_borrow)]
    fn __flash_lifecycle() -> &'static ::flash_sdk::__private::Lifecycle {
        static LIFECYCLE: ::flash_sdk::__private::Lifecycle = ::flash_sdk::__private::Lifecycle {
            name: "Sentiment",
            needs_model: false,
            init: || ::std::boxed::Box::pin(async {
                <Sentiment>::__flash_instance().await.map(|_| ())
            }),
            exit: ::core::option::Option::None,
            health: ::core::option::Option::None,
        };
        &LIFECYCLE
    }
    #[doc(hidden)]
    #[allow(dead_code)]
    const __FLASH_RESOURCE: ::flash_sdk::__private::Resource = ::flash_sdk::__private::Resource::Named(
        "models",
    );
    /// Classifies.
    #[allow(dead_code, clippy::too_many_arguments)]
    pub async fn classify(text: String) -> ::flash_sdk::Result<Label> {
        ::flash_sdk::__private::call::<__flash_Sentiment_classify>((text,)).await
    }
    ///Submits a call of `Sentiment::classify` as a job and returns without waiting for its result.
    ///
    /// # Errors
    /// When the job could not be submitted.
    #[allow(dead_code, clippy::too_many_arguments)]
    pub async fn classify_spawn(
        text: String,
    ) -> ::flash_sdk::Result<::flash_sdk::JobHandle<Label>> {
        ::flash_sdk::__private::spawn::<__flash_Sentiment_classify>((text,)).await
    }
    ///Calls `Sentiment::classify` once per item, 16 calls at a time.
    ///
    /// Results arrive as they are ready, each with the index of its item. If no worker is free, more start at
    /// once, without waiting for `queue_delay`: as many as `workers` allows, each with `max_concurrency` calls.
    #[allow(dead_code, clippy::type_complexity)]
    pub fn classify_map(
        items: impl ::core::iter::IntoIterator<
            Item = String,
            IntoIter: ::core::marker::Send,
        >,
    ) -> impl ::flash_sdk::__private::Stream<
        Item = (usize, ::flash_sdk::Result<Label>),
    > + ::core::marker::Send {
        Self::classify_map_with(items, ::flash_sdk::__private::MAP_CONCURRENCY)
    }
    ///Calls `Sentiment::classify` once per item, `concurrency` calls at a time.
    ///
    /// Results arrive as they are ready, each with the index of its item. If no worker is free, more start at
    /// once, without waiting for `queue_delay`: as many as `workers` allows, each with `max_concurrency` calls.
    #[allow(dead_code, clippy::type_complexity)]
    pub fn classify_map_with(
        items: impl ::core::iter::IntoIterator<
            Item = String,
            IntoIter: ::core::marker::Send,
        >,
        concurrency: usize,
    ) -> impl ::flash_sdk::__private::Stream<
        Item = (usize, ::flash_sdk::Result<Label>),
    > + ::core::marker::Send {
        ::flash_sdk::__private::map::<
            __flash_Sentiment_classify,
            _,
        >(
            ::core::iter::Iterator::map(
                ::core::iter::IntoIterator::into_iter(items),
                |item| (item,),
            ),
            concurrency,
        )
    }
    ///Options of a call of `Sentiment::classify`: timeout, priority, environment, …
    #[allow(dead_code, clippy::type_complexity)]
    pub fn classify_options() -> ::flash_sdk::CallOptions<
        ::flash_sdk::__private::Job<String, Label>,
    > {
        ::flash_sdk::__private::job::<__flash_Sentiment_classify>()
    }
    ///Options of a call of `Sentiment::classify` in another environment, by its name or URL.
    #[allow(dead_code, clippy::type_complexity)]
    pub fn classify_at(
        environment: impl ::core::convert::Into<::std::string::String>,
    ) -> ::flash_sdk::CallOptions<::flash_sdk::__private::Job<String, Label>> {
        ::flash_sdk::__private::job::<__flash_Sentiment_classify>().at(environment)
    }
    ///A job of `Sentiment::classify` that was submitted before, by its ID.
    ///
    /// # Errors
    /// Without a platform, because then a job is known only by the handle that `spawn` returned.
    #[allow(dead_code)]
    pub fn classify_handle(
        id: impl ::core::convert::Into<::std::string::String>,
    ) -> ::flash_sdk::Result<::flash_sdk::JobHandle<Label>> {
        ::flash_sdk::__private::job::<__flash_Sentiment_classify>().handle(id)
    }
    ///Runs `Sentiment::classify` in this process, wherever it is deployed.
    ///
    /// # Errors
    /// When the function fails.
    #[allow(dead_code, clippy::too_many_arguments)]
    pub async fn classify_local(text: String) -> ::flash_sdk::Result<Label> {
        <__flash_Sentiment_classify as ::flash_sdk::__private::RemoteFunction>::run((
                text,
            ))
            .await
    }
    ///The code of `classify` on this value, for tests: no worker, no `#[init]`.
    ///
    /// # Errors
    /// When the method fails.
    #[allow(unreachable_pub)]
    pub async fn classify_on(&self, text: String) -> Result<Label> {
        Ok(self.label(text))
    }
    #[allow(dead_code, clippy::too_many_arguments)]
    pub async fn again(one: Label, two: Sentiment) -> ::flash_sdk::Result<Sentiment> {
        ::flash_sdk::__private::call::<__flash_Sentiment_again>((one, two)).await
    }
    ///Submits a call of `Sentiment::again` as a job and returns without waiting for its result.
    ///
    /// # Errors
    /// When the job could not be submitted.
    #[allow(dead_code, clippy::too_many_arguments)]
    pub async fn again_spawn(
        one: Label,
        two: Sentiment,
    ) -> ::flash_sdk::Result<::flash_sdk::JobHandle<Sentiment>> {
        ::flash_sdk::__private::spawn::<__flash_Sentiment_again>((one, two)).await
    }
    ///Calls `Sentiment::again` once per item, 16 calls at a time.
    ///
    /// Results arrive as they are ready, each with the index of its item. If no worker is free, more start at
    /// once, without waiting for `queue_delay`: as many as `workers` allows, each with `max_concurrency` calls.
    #[allow(dead_code, clippy::type_complexity)]
    pub fn again_map(
        items: impl ::core::iter::IntoIterator<
            Item = (Label, Sentiment),
            IntoIter: ::core::marker::Send,
        >,
    ) -> impl ::flash_sdk::__private::Stream<
        Item = (usize, ::flash_sdk::Result<Sentiment>),
    > + ::core::marker::Send {
        Self::again_map_with(items, ::flash_sdk::__private::MAP_CONCURRENCY)
    }
    ///Calls `Sentiment::again` once per item, `concurrency` calls at a time.
    ///
    /// Results arrive as they are ready, each with the index of its item. If no worker is free, more start at
    /// once, without waiting for `queue_delay`: as many as `workers` allows, each with `max_concurrency` calls.
    #[allow(dead_code, clippy::type_complexity)]
    pub fn again_map_with(
        items: impl ::core::iter::IntoIterator<
            Item = (Label, Sentiment),
            IntoIter: ::core::marker::Send,
        >,
        concurrency: usize,
    ) -> impl ::flash_sdk::__private::Stream<
        Item = (usize, ::flash_sdk::Result<Sentiment>),
    > + ::core::marker::Send {
        ::flash_sdk::__private::map::<__flash_Sentiment_again, _>(items, concurrency)
    }
    ///Options of a call of `Sentiment::again`: timeout, priority, environment, …
    #[allow(dead_code, clippy::type_complexity)]
    pub fn again_options() -> ::flash_sdk::CallOptions<
        ::flash_sdk::__private::Job<(Label, Sentiment), Sentiment>,
    > {
        ::flash_sdk::__private::job::<__flash_Sentiment_again>()
    }
    ///Options of a call of `Sentiment::again` in another environment, by its name or URL.
    #[allow(dead_code, clippy::type_complexity)]
    pub fn again_at(
        environment: impl ::core::convert::Into<::std::string::String>,
    ) -> ::flash_sdk::CallOptions<
        ::flash_sdk::__private::Job<(Label, Sentiment), Sentiment>,
    > {
        ::flash_sdk::__private::job::<__flash_Sentiment_again>().at(environment)
    }
    ///A job of `Sentiment::again` that was submitted before, by its ID.
    ///
    /// # Errors
    /// Without a platform, because then a job is known only by the handle that `spawn` returned.
    #[allow(dead_code)]
    pub fn again_handle(
        id: impl ::core::convert::Into<::std::string::String>,
    ) -> ::flash_sdk::Result<::flash_sdk::JobHandle<Sentiment>> {
        ::flash_sdk::__private::job::<__flash_Sentiment_again>().handle(id)
    }
    ///Runs `Sentiment::again` in this process, wherever it is deployed.
    ///
    /// # Errors
    /// When the function fails.
    #[allow(dead_code, clippy::too_many_arguments)]
    pub async fn again_local(
        one: Label,
        two: Sentiment,
    ) -> ::flash_sdk::Result<Sentiment> {
        <__flash_Sentiment_again as ::flash_sdk::__private::RemoteFunction>::run((
                one,
                two,
            ))
            .await
    }
    ///The code of `again` on this value, for tests: no worker, no `#[init]`.
    ///
    /// # Errors
    /// When the method fails.
    #[allow(unreachable_pub)]
    pub fn again_on(&self, one: Label, two: Self) -> Result<Self> {
        Ok(two)
    }
    #[allow(dead_code, clippy::too_many_arguments)]
    pub fn words(
        text: String,
    ) -> impl ::flash_sdk::__private::Stream<
        Item = ::flash_sdk::Result<Label>,
    > + ::core::marker::Send + ::core::marker::Unpin {
        ::flash_sdk::__private::stream::<__flash_Sentiment_words>((text,))
    }
    #[doc(hidden)]
    #[allow(
        dead_code,
        unused_variables,
        clippy::too_many_arguments,
        clippy::unused_async
    )]
    pub async fn words_spawn(
        text: String,
    ) -> ::flash_sdk::Result<::flash_sdk::JobHandle<Label>>
    where
        for<'never> ::flash_sdk::__private::AStream: ::flash_sdk::__private::MakesJobs<
            'never,
        >,
    {
        ::core::unreachable!("its bound is never met")
    }
    ///Options of a call of `Sentiment::words`: timeout, priority, environment, …
    #[allow(dead_code, clippy::type_complexity)]
    pub fn words_options() -> ::flash_sdk::CallOptions<
        ::flash_sdk::__private::StreamingJob<String, Label>,
    > {
        ::flash_sdk::__private::streaming_job::<__flash_Sentiment_words>()
    }
    ///Options of a call of `Sentiment::words` in another environment, by its name or URL.
    #[allow(dead_code, clippy::type_complexity)]
    pub fn words_at(
        environment: impl ::core::convert::Into<::std::string::String>,
    ) -> ::flash_sdk::CallOptions<::flash_sdk::__private::StreamingJob<String, Label>> {
        ::flash_sdk::__private::streaming_job::<__flash_Sentiment_words>()
            .at(environment)
    }
    ///Runs `Sentiment::words` in this process, wherever it is deployed.
    #[allow(dead_code, clippy::too_many_arguments)]
    pub fn words_local(
        text: String,
    ) -> impl ::flash_sdk::__private::Stream<
        Item = ::flash_sdk::Result<Label>,
    > + ::core::marker::Send + ::core::marker::Unpin {
        <__flash_Sentiment_words as ::flash_sdk::__private::RemoteStream>::run((text,))
    }
    ///The code of `words` on this value, for tests: no worker, no `#[init]`.
    ///
    /// # Errors
    /// When the method fails.
    #[allow(unreachable_pub)]
    pub fn words_on(&self, text: String) -> impl Stream<Item = Result<Label>> + Send {
        todo!()
    }
}
#[doc(hidden)]
#[allow(non_camel_case_types)]
struct __flash_Sentiment_classify;
impl ::flash_sdk::__private::RemoteFunction for __flash_Sentiment_classify {
    type Args = (String,);
    type Output = Label;
    fn descriptor() -> &'static ::flash_sdk::__private::Function {
        static FUNCTION: ::flash_sdk::__private::Function = ::flash_sdk::__private::Function {
            name: "classify",
            owner: ::core::option::Option::Some("Sentiment"),
            module_path: ::core::module_path!(),
            file: ::core::file!(),
            line: ::core::line!(),
            docs: ::core::concat!("Classifies.", "\n"),
            resource: <Sentiment>::__FLASH_RESOURCE,
            route: ::core::option::Option::None,
            settings: ::flash_sdk::__private::FunctionSettings::new()
                .retries(::flash_sdk::__private::Retries::new(1u32)),
            arguments: &[::flash_sdk::__private::Argument::of::<String>("text")],
            output: ::flash_sdk::__private::Output::of::<Label>(),
            handler: ::flash_sdk::__private::once::<__flash_Sentiment_classify>(),
            lifecycle: ::core::option::Option::Some(<Sentiment>::__flash_lifecycle),
            binding: ::flash_sdk::__private::OnceLock::new(),
        };
        &FUNCTION
    }
    #[allow(refining_impl_trait, clippy::useless_conversion, clippy::needless_borrow)]
    fn run(
        (text,): Self::Args,
    ) -> ::flash_sdk::__private::BoxFuture<'static, ::flash_sdk::Result<Label>> {
        ::std::boxed::Box::pin(async move {
            let __flash_instance = <Sentiment>::__flash_instance().await?;
            let __flash_outcome = __flash_instance.classify_on(text).await;
            __flash_outcome
                .map_err(|__flash_error| {
                    use ::flash_sdk::__private::ways::*;
                    (&&&&&look(&__flash_error)).__flash_way().error(__flash_error)
                })
        })
    }
}
::flash_sdk::__private::inventory::submit! {
    ::flash_sdk::__private::Registered { function : < __flash_Sentiment_classify as
    ::flash_sdk::__private::RemoteFunction > ::descriptor, #[allow(deprecated)] item : ||
    ::flash_sdk::__private::type_of(& < Sentiment > ::classify), }
}
#[doc(hidden)]
#[allow(non_camel_case_types)]
struct __flash_Sentiment_again;
impl ::flash_sdk::__private::RemoteFunction for __flash_Sentiment_again {
    type Args = (Label, Sentiment);
    type Output = Sentiment;
    fn descriptor() -> &'static ::flash_sdk::__private::Function {
        static FUNCTION: ::flash_sdk::__private::Function = ::flash_sdk::__private::Function {
            name: "again",
            owner: ::core::option::Option::Some("Sentiment"),
            module_path: ::core::module_path!(),
            file: ::core::file!(),
            line: ::core::line!(),
            docs: ::core::concat!(),
            resource: <Sentiment>::__FLASH_RESOURCE,
            route: ::core::option::Option::None,
            settings: ::flash_sdk::__private::FunctionSettings::new(),
            arguments: &[
                ::flash_sdk::__private::Argument::of::<Label>("one"),
                ::flash_sdk::__private::Argument::of::<Sentiment>("two"),
            ],
            output: ::flash_sdk::__private::Output::of::<Sentiment>(),
            handler: ::flash_sdk::__private::once::<__flash_Sentiment_again>(),
            lifecycle: ::core::option::Option::Some(<Sentiment>::__flash_lifecycle),
            binding: ::flash_sdk::__private::OnceLock::new(),
        };
        &FUNCTION
    }
    #[allow(refining_impl_trait, clippy::useless_conversion, clippy::needless_borrow)]
    fn run(
        (one, two): Self::Args,
    ) -> ::flash_sdk::__private::BoxFuture<'static, ::flash_sdk::Result<Sentiment>> {
        ::std::boxed::Box::pin(async move {
            let __flash_instance = <Sentiment>::__flash_instance().await?;
            let __flash_run = move || {
                let __flash_outcome = __flash_instance.again_on(one, two);
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
    ::flash_sdk::__private::Registered { function : < __flash_Sentiment_again as
    ::flash_sdk::__private::RemoteFunction > ::descriptor, #[allow(deprecated)] item : ||
    ::flash_sdk::__private::type_of(& < Sentiment > ::again), }
}
#[doc(hidden)]
#[allow(non_camel_case_types)]
struct __flash_Sentiment_words;
impl ::flash_sdk::__private::RemoteStream for __flash_Sentiment_words {
    type Args = (String,);
    type Item = Label;
    fn descriptor() -> &'static ::flash_sdk::__private::Function {
        static FUNCTION: ::flash_sdk::__private::Function = ::flash_sdk::__private::Function {
            name: "words",
            owner: ::core::option::Option::Some("Sentiment"),
            module_path: ::core::module_path!(),
            file: ::core::file!(),
            line: ::core::line!(),
            docs: ::core::concat!(),
            resource: <Sentiment>::__FLASH_RESOURCE,
            route: ::core::option::Option::None,
            settings: ::flash_sdk::__private::FunctionSettings::new(),
            arguments: &[::flash_sdk::__private::Argument::of::<String>("text")],
            output: ::flash_sdk::__private::Output::of::<Label>(),
            handler: ::flash_sdk::__private::streaming::<__flash_Sentiment_words>(),
            lifecycle: ::core::option::Option::Some(<Sentiment>::__flash_lifecycle),
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
                Item = ::flash_sdk::Result<Label>,
            > + ::core::marker::Send,
        >,
    > {
        ::std::boxed::Box::pin(
            ::flash_sdk::__private::generated(move |__flash_yielder| async move {
                let __flash_instance = <Sentiment>::__flash_instance().await?;
                let __flash_made = __flash_instance.words_on(text);
                let __flash_chunks = ::flash_sdk::__private::chunks(
                    __flash_made,
                    |__flash_chunk| {
                        __flash_chunk
                            .map_err(|__flash_error| {
                                use ::flash_sdk::__private::ways::*;
                                (&&&&&look(&__flash_error))
                                    .__flash_way()
                                    .error(__flash_error)
                            })
                    },
                );
                __flash_yielder.forward(__flash_chunks).await
            }),
        )
    }
}
::flash_sdk::__private::inventory::submit! {
    ::flash_sdk::__private::Registered { function : < __flash_Sentiment_words as
    ::flash_sdk::__private::RemoteStream > ::descriptor, #[allow(deprecated)] item : ||
    ::flash_sdk::__private::type_of(& < Sentiment > ::words), }
}
