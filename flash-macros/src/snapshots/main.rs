/// Starts.
#[allow(unused)]
#[allow(clippy::useless_conversion, clippy::needless_borrow)]
fn main() -> ::std::process::ExitCode {
    async fn __flash_user_main() -> Result<(), Oops> {
        run().await
    }
    static MARK: ::flash_sdk::__private::EntryMark = ::flash_sdk::__private::ENTRY_MARK;
    ::flash_sdk::__private::main::<
        _,
        _,
        ::flash_sdk::Result<()>,
    >(
        ::flash_sdk::__private::AppInfo {
            name: ::core::env!("CARGO_PKG_NAME"),
            version: ::core::env!("CARGO_PKG_VERSION"),
            mark: &MARK,
        },
        || async {
            __flash_user_main()
                .await
                .map_err(|__flash_error| {
                    use ::flash_sdk::__private::ways::*;
                    (&&&&&look(&__flash_error)).__flash_way().error(__flash_error)
                })
        },
    )
}
