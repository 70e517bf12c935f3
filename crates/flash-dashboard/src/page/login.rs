//! The page that asks for the key.
use maud::html;

use super::frame::{Scripts, document};

/// Asks for the key of `place`. `problem` says why the last one did not work. With a token after `#` in its address, its
/// script logs in by that.
pub fn login(place: &str, problem: Option<&str>) -> String {
    let body = html! {
        main.login #content {
            form method="post" action="/_flash/login" {
                h1 { "Log in to " (place) }
                @if let Some(problem) = problem {
                    p.notice role="alert" { (problem) }
                }
                label for="key" { "Key" }
                input #key type="password" name="key" autocomplete="current-password" required autofocus spellcheck="false";
                button type="submit" { "Log in" }
                p.dim {
                    "The API key that you also send with requests. "
                    "The browser keeps a session, not the key; it ends after two hours without use."
                }
            }
        }
    };
    document(&format!("Log in · {place}"), Scripts::Login, &body)
}
