/// Tests.
#[ignore = "slow"]
#[::core::prelude::v1::test]
fn it_works() -> Result<(), Oops> {
    async fn __flash_test() -> Result<(), Oops> {
        run().await
    }
    ::flash_sdk::__private::test(__flash_test())
}
