/// Starts.
#[allow(unused)]
fn main() -> ::std::process::ExitCode {
    async fn __flash_user_main() -> Result<(), Oops> {
        run().await
    }
    ::flash_sdk::__private::main::<
        _,
        _,
        Result<(), Oops>,
    >(
        ::flash_sdk::__private::AppInfo {
            name: ::core::env!("CARGO_PKG_NAME"),
            version: ::core::env!("CARGO_PKG_VERSION"),
        },
        __flash_user_main,
    )
}
