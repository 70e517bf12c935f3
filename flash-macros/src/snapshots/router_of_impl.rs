impl Chat {
    fn open() -> Self {
        Self
    }
    fn routes(self: Arc<Self>) -> axum::Router {
        axum::Router::new()
    }
    #[doc(hidden)]
    #[allow(dead_code)]
    fn __flash_cell() -> &'static ::flash_sdk::__private::Instance<Self> {
        static INSTANCE: ::flash_sdk::__private::Instance<Chat> = ::flash_sdk::__private::Instance::new();
        &INSTANCE
    }
    #[doc(hidden)]
    #[allow(dead_code, clippy::useless_conversion, clippy::needless_borrow)]
    async fn __flash_instance() -> ::flash_sdk::Result<::std::sync::Arc<Self>> {
        Self::__flash_cell()
            .get(|| ::flash_sdk::__private::blocking(|| ::flash_sdk::Result::<
                Self,
            >::Ok(Self::open())))
            .await
    }
    #[doc(hidden)]
    #[allow(dead_code, clippy::useless_conversion, clippy::needless_borrow)]
    fn __flash_lifecycle() -> &'static ::flash_sdk::__private::Lifecycle {
        static LIFECYCLE: ::flash_sdk::__private::Lifecycle = ::flash_sdk::__private::Lifecycle {
            name: "Chat",
            needs_model: false,
            init: || ::std::boxed::Box::pin(async {
                <Chat>::__flash_instance().await.map(|_| ())
            }),
            exit: ::core::option::Option::None,
            health: ::core::option::Option::None,
        };
        &LIFECYCLE
    }
    #[doc(hidden)]
    #[allow(dead_code)]
    const __FLASH_RESOURCE: ::flash_sdk::__private::Resource = ::flash_sdk::__private::Resource::Declared(
        ::flash_sdk::ResourceConfig::new("chat")
            .cpus(&[::flash_sdk::CpuInstance::Cpu3c_1_2]),
    );
}
::flash_sdk::__private::inventory::submit! {
    ::flash_sdk::__private::RegisteredRouter(|| { static ROUTER :
    ::flash_sdk::__private::RouterFunction = ::flash_sdk::__private::RouterFunction {
    name : "routes", owner : ::core::option::Option::Some("Chat"), file :
    ::core::file!(), line : ::core::line!(), docs : ::core::concat!(), resource : < Chat
    > ::__FLASH_RESOURCE, prefix : ::core::option::Option::None, models :
    ::core::option::Option::None, make : | _ | ::std::boxed::Box::pin(async move { let
    __flash_instance = < Chat > ::__flash_instance(). await ?; let __flash_router =
    ::flash_sdk::__private::blocking(move || { let __flash_outcome = __flash_instance
    .routes(); ::flash_sdk::Result:: < _, ::flash_sdk::Error > ::Ok(__flash_outcome) }).
    await ?;
    ::core::result::Result::Ok(::flash_sdk::__private::IsRouter::into_router(__flash_router))
    }), lifecycle : ::core::option::Option::Some(< Chat > ::__flash_lifecycle), }; &
    ROUTER })
}
