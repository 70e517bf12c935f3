//! Functions and methods that make routers or return models.
use quote::quote;

use super::*;

#[test]
fn a_router_stays_as_written_and_is_registered() {
    let expanded = expand_remote(
        quote!(worker = "site", cpu = Cpu3c_1_2, http = "/site", max_body_mib = 100, request_timeout = 600),
        quote! {
            /// The site.
            pub async fn site() -> anyhow::Result<Router> {
                Ok(Router::new())
            }
        },
    );
    assert_snapshot("router.rs", expanded);
}

#[test]
fn the_method_that_makes_a_router_gets_the_workers_value() {
    let expanded = expand_remote(
        quote!(worker = "chat", cpu = Cpu3c_1_2),
        quote! {
            impl Chat {
                #[init]
                fn open() -> Self {
                    Self
                }

                #[http]
                fn routes(self: Arc<Self>) -> axum::Router {
                    axum::Router::new()
                }
            }
        },
    );
    assert_snapshot("router_of_impl.rs", expanded);
}

#[test]
fn the_method_that_returns_models_is_registered_with_their_names() {
    let expanded = expand_remote(
        quote!(worker = "chat", cpu = Cpu3c_1_2),
        quote! {
            impl Chat {
                #[init]
                fn load() -> Self {
                    Self
                }

                #[openai = ["smollm2-135m", "org/other"]]
                fn models(&self) -> flash_sdk::openai::Models {
                    self.0.clone()
                }
            }
        },
    );
    let expanded = expanded.to_string();
    for part in [
        r#"models : :: core :: option :: Option :: Some (& ["smollm2-135m" , "org/other"])"#,
        r#"IsModels :: into_router (__flash_router , & __flash_models) ?"#,
    ] {
        assert!(expanded.contains(part), "{part} in {expanded}");
    }
    assert!(!expanded.contains("# [openai"), "{expanded}");
}

#[test]
fn models_have_their_own_rules() {
    let models = |args: TokenStream| messages(expand_remote(args, quote! { fn chat() -> Models { all() } }));
    assert_eq!(models(quote!(worker = "a", openai = "org/name:x")), Vec::<String>::new());
    assert_eq!(models(quote!(worker = "a", openai = ["b", "c"])), Vec::<String>::new());
    assert_eq!(models(quote!(worker = "a", openai)), Vec::<String>::new(), "it has the name of its `model`");
    one(models(quote!(worker = "a", openai = "a b")), "visible ASCII");
    one(models(quote!(worker = "a", openai = [])), "is a string");
    one(models(quote!(worker = "a", openai = "b", http)), "remove `http` or `openai`");
    one(models(quote!(worker = "a", openai = "b", retries = 3)), "`retries` is for jobs");
    let typed = |item| messages(expand_remote(quote!(worker = "a", openai = "b"), item));
    one(typed(quote! { fn chat() {} }), "add `-> flash_sdk::openai::Models`");
    one(typed(quote! { fn chat(x: u8) -> Models { all() } }), "takes no arguments");
}

#[test]
fn a_router_has_its_own_rules() {
    let router = |args: TokenStream| messages(expand_remote(args, quote! { fn web() -> Router { Router } }));
    assert_eq!(router(quote!(worker = "a", http)), Vec::<String>::new());
    one(router(quote!(worker = "a", http = "chat")), "must start with `/`");
    one(router(quote!(worker = "a", http = "/v2/x")), "is reserved");
    one(router(quote!(worker = "a", http = "/")), "write `http` alone");
    one(router(quote!(worker = "a", http = 7)), "the prefix must be a string");
    one(router(quote!(worker = "a", http, retries = 3)), "`retries` is for jobs");
    let typed = |item| messages(expand_remote(quote!(worker = "a", http), item));
    one(typed(quote! { fn web() -> impl Send { Router } }), "returns `axum::Router`");
    one(typed(quote! { fn web(&self) -> Router { Router } }), "belongs in an `impl`");
}
