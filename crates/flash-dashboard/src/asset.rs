//! The files beside the pages. All are compiled in: nothing is fetched from elsewhere.

/// A file.
#[derive(Debug, Clone, Copy)]
pub struct Asset {
    /// As in the header `Content-Type`.
    pub content_type: &'static str,
    /// Its bytes.
    pub content: &'static str,
}

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// The file of this name; `None` if there is none.
pub fn asset(name: &str) -> Option<Asset> {
    let (content_type, content) = match name {
        "dashboard.css" => (STYLE, include_str!("../assets/dashboard.css")),
        "dashboard.js" => (SCRIPT, include_str!("../assets/dashboard.js")),
        "charts.js" => (SCRIPT, include_str!("../assets/charts.js")),
        "login.js" => (SCRIPT, include_str!("../assets/login.js")),
        "uplot.js" => (SCRIPT, include_str!("../assets/uplot/uPlot.iife.min.js")),
        "uplot.css" => (STYLE, include_str!("../assets/uplot/uPlot.min.css")),
        "icon.svg" => ("image/svg+xml", include_str!("../assets/icon.svg")),
        _ => return None,
    };
    Some(Asset { content_type, content })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_together_stay_under_200_kilobytes() {
        let names =
            ["dashboard.css", "dashboard.js", "charts.js", "login.js", "uplot.js", "uplot.css", "icon.svg"];
        let total: usize = names.iter().map(|name| asset(name).unwrap().content.len()).sum();
        assert!(total < 200_000, "{total} bytes");
        assert!(asset("../Cargo.toml").is_none() && asset("").is_none());
    }

    #[test]
    fn no_file_refers_to_another_host() {
        for name in ["dashboard.css", "dashboard.js", "charts.js", "login.js", "uplot.css"] {
            let content = asset(name).unwrap().content;
            assert!(!content.contains("http://") && !content.contains("https://"), "{name}");
        }
    }
}
