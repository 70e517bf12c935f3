/// The site.
pub async fn site() -> anyhow::Result<Router> {
    Ok(Router::new())
}
::flash_sdk::__private::inventory::submit! {
    ::flash_sdk::__private::RegisteredRouter(|| { static ROUTER :
    ::flash_sdk::__private::RouterFunction = ::flash_sdk::__private::RouterFunction {
    name : "site", owner : ::core::option::Option::None, file : ::core::file!(), line :
    ::core::line!(), docs : ::core::concat!("The site.", "\n"), resource :
    ::flash_sdk::__private::Resource::Declared(::flash_sdk::ResourceConfig::new("site")
    .cpus(& [::flash_sdk::CpuInstance::Cpu3c_1_2]).max_body_mib(100u32)
    .request_timeout(600u32)), prefix : ::core::option::Option::Some("/site"), models :
    ::core::option::Option::None, make : | _ | ::std::boxed::Box::pin(async move { let
    __flash_router = { let __flash_outcome = site(). await; __flash_outcome.map_err(|
    __flash_error | { use ::flash_sdk::__private::ways:: *; (&& && & look(&
    __flash_error)).__flash_way().error(__flash_error) }) } ?;
    ::core::result::Result::Ok(::flash_sdk::__private::IsRouter::into_router(__flash_router))
    }), lifecycle : ::core::option::Option::None, }; & ROUTER })
}
