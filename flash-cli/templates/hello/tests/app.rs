//! Without a platform, functions run in the process of the test.
use flash_sdk::{Error, Result, testing::fake};
use ::{{crate}}::{greet, hello};

#[flash_sdk::test]
async fn everyone_is_greeted_in_order() -> Result<()> {
    let greetings = hello(vec!["Ada".to_owned(), "Bob".to_owned()]).await?;
    assert_eq!(greetings, ["Hello, Ada!", "Hello, Bob!"]);
    Ok(())
}

#[flash_sdk::test]
async fn an_error_of_the_greeter_reaches_the_caller() {
    let greeter = fake(greet, |name: String| async move { Err(Error::handler(format!("who is {name}?"))) });
    let error = hello(vec!["Ada".to_owned()]).await.unwrap_err();
    assert_eq!(error.message(), "who is Ada?");
    assert_eq!(greeter.calls(), 1);
}
