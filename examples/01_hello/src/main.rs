//! The smallest app: a function behind a queue, and a route that calls it.
use flash_sdk::{Result, remote};

/// Greets one person.
#[remote(worker = "greeter", cpu = Cpu3c_1_2, workers = 0..=3, example = r#"{"name": "Ada"}"#)]
pub async fn greet(name: String) -> Result<String> {
    Ok(format!("Hello, {name}!"))
}

/// Greets whoever the path names, on a worker of the type `greeter`.
#[remote(worker = "front", cpu = Cpu3c_1_2, workers = 0..=1, method = GET, path = "/hello/{name}")]
pub async fn hello(name: String) -> Result<String> {
    greet(name).await
}

#[flash_sdk::main]
async fn main() {}

#[cfg(test)]
mod tests {
    use flash_sdk::{Error, testing::fake};

    use super::*;

    #[flash_sdk::test]
    async fn the_route_greets_whom_its_path_names() {
        assert_eq!(hello("Ada".to_owned()).await.unwrap(), "Hello, Ada!");
    }

    #[flash_sdk::test]
    async fn a_greeter_that_fails_is_an_error_of_the_route() {
        let greeter = fake(greet, |_| async { Err(Error::handler("lost its voice")) });
        assert_eq!(hello("Ada".to_owned()).await.unwrap_err().message(), "lost its voice");
        assert_eq!(greeter.inputs(), ["Ada"]);
    }
}
