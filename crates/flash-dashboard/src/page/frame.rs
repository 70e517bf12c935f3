//! What is around every page: head, navigation, and what is wrong with the latest build.
use maud::{DOCTYPE, Markup, html};

use super::parts::time;
use crate::view::{Frame, Page};

/// Which scripts a page needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scripts {
    /// Those of every page.
    Live,
    /// And curves.
    WithCharts,
    /// The one that takes a token from the address.
    Login,
}

/// A whole document. `title` is what the window is called.
pub(super) fn document(title: &str, scripts: Scripts, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="icon" type="image/svg+xml" href="/_flash/assets/icon.svg";
                @if scripts == Scripts::WithCharts {
                    link rel="stylesheet" href="/_flash/assets/uplot.css";
                }
                link rel="stylesheet" href="/_flash/assets/dashboard.css";
                @if scripts == Scripts::WithCharts {
                    script src="/_flash/assets/uplot.js" defer {}
                    script src="/_flash/assets/charts.js" defer {}
                }
                @if scripts == Scripts::Login {
                    script src="/_flash/assets/login.js" defer {}
                } @else {
                    script src="/_flash/assets/dashboard.js" defer {}
                }
            }
            body { (body) }
        }
    };
    page.into_string()
}

/// A page with its navigation.
pub(super) fn page(frame: &Frame, current: Page, title: &str, scripts: Scripts, content: &Markup) -> String {
    let app = frame.app.as_deref().unwrap_or("Flash");
    let body = html! {
        a.skip href="#content" { "Skip to the content" }
        (top(frame, Some(current)))
        main #content tabindex="-1" {
            (notices(frame))
            (content)
        }
        footer {
            span #connection role="status" data-live-state { }
        }
    };
    document(&format!("{title} · {app} · {}", frame.place), scripts, &body)
}

fn top(frame: &Frame, current: Option<Page>) -> Markup {
    html! {
        header.top {
            div #identity data-live {
                strong { (frame.app.as_deref().unwrap_or("Flash")) }
                span.place { (frame.place) }
                @if let Some(release) = frame.release {
                    span.place { "release " (release) }
                }
            }
            @if frame.has_session {
                form.logout method="post" action="/_flash/logout" {
                    button.quiet type="submit" { "Log out" }
                }
            }
            nav #navigation data-live aria-label="Pages" {
                @for page in &frame.pages {
                    a href=(page.path()) aria-current=[(Some(*page) == current).then_some("page")] { (page.title()) }
                }
            }
        }
    }
}

fn notices(frame: &Frame) -> Markup {
    html! {
        div #build data-live aria-live="polite" {
            @if let Some(problem) = &frame.build_problem {
                section.problem aria-label="Build error" {
                    h2 { "The latest changes do not build" }
                    p {
                        "The version before them keeps serving. "
                        span.dim { (time(problem.time_ms)) }
                    }
                    pre tabindex="0" { (problem.text) }
                }
            }
        }
    }
}

/// A page that says why there is no other: what was asked for is not there, or a change was refused.
pub fn message(frame: &Frame, title: &str, text: &str) -> String {
    let body = html! {
        (top(frame, None))
        main #content {
            section.empty {
                h1 { (title) }
                p { (text) }
                p { a href="/_flash/" { "To the overview" } }
            }
        }
    };
    document(&format!("{title} · {}", frame.place), Scripts::Live, &body)
}
