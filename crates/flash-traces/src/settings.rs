//! The standard variables: whether there are traces, and whether Flash understands the rest of them.
use std::time::Duration;

use flash_http::is_loopback;

/// How long one batch may take, where nothing else is said: the default of the specification.
const TIMEOUT: Duration = Duration::from_secs(10);

const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
const PROTOCOLS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
const TIMEOUTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];
const DISABLED: &str = "OTEL_SDK_DISABLED";
const EXPORTER: &str = "OTEL_TRACES_EXPORTER";
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const SAMPLER_ARGUMENT: &str = "OTEL_TRACES_SAMPLER_ARG";

const SAMPLERS: [&str; 6] = [
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];

/// How spans are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// `http/protobuf`, to a path, by default on port 4318.
    HttpProtobuf,
    /// `grpc`, by default on port 4317. The path of the endpoint does not count.
    Grpc,
}

/// Where spans go, from the standard variables. Headers, paths and resources are read by the exporter itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Host and port, for messages: the whole URL may hold a secret.
    pub(crate) host: String,
    pub(crate) is_on_this_machine: bool,
    pub(crate) protocol: Protocol,
    pub(crate) timeout: Duration,
    /// Whether the time between two batches is set.
    pub(crate) sets_delay: bool,
}

/// A variable that cannot be followed. No traces are sent then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// It is no URL, or not one of HTTP. Its value is left out, as it may hold a secret.
    #[error("{variable} is not a URL such as `http://localhost:4318`")]
    Endpoint {
        /// Its name.
        variable: &'static str,
    },
    /// It is not a value that Flash knows.
    #[error("{variable} is `{value}`, expected {expected}")]
    Value {
        /// Its name.
        variable: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
}

/// Whether the standard variables of this process ask for traces. The values need not be correct.
pub fn is_asked_for() -> bool {
    endpoint(&variable).is_some()
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl Settings {
    /// From the variables of this process; `None` if they ask for no traces: no endpoint is set, `OTEL_SDK_DISABLED` is
    /// `true`, or `OTEL_TRACES_EXPORTER` is `none`.
    ///
    /// # Errors
    /// If traces are asked for in a way that Flash does not know.
    pub fn from_env() -> Result<Option<Self>, SettingsError> {
        Self::read(variable)
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, SettingsError> {
        let variable = |name: &str| variable(name).map(|value| value.trim().to_owned());
        let Some((name, url)) = endpoint(&variable) else { return Ok(None) };
        let expect = |variable: &'static str, value: String, expected: &'static str| {
            Err(SettingsError::Value { variable, value, expected })
        };
        if let Some(exporter) = set(&variable, &[EXPORTER]).filter(|(_, exporter)| exporter != "otlp") {
            return expect(exporter.0, exporter.1, "`otlp` or `none`");
        }
        let protocol = match set(&variable, &PROTOCOLS) {
            None => Protocol::HttpProtobuf,
            Some((name, text)) => match text.as_str() {
                "http/protobuf" => Protocol::HttpProtobuf,
                "grpc" => Protocol::Grpc,
                _ => return expect(name, text, "`http/protobuf` or `grpc`"),
            },
        };
        let timeout = match set(&variable, &TIMEOUTS) {
            None => TIMEOUT,
            Some((name, text)) => match text.parse() {
                Ok(millis) => Duration::from_millis(millis),
                Err(_) => return expect(name, text, "a whole number of milliseconds"),
            },
        };
        if let Some((name, sampler)) =
            set(&variable, &[SAMPLER]).filter(|(_, own)| !SAMPLERS.contains(&own.as_str()))
        {
            let expected = "`always_on`, `always_off` or `traceidratio`, each also after `parentbased_`";
            return expect(name, sampler, expected);
        }
        if let Some((name, share)) = set(&variable, &[SAMPLER_ARGUMENT])
            && !share.parse().is_ok_and(|share: f64| (0.0..=1.0).contains(&share))
        {
            return expect(name, share, "a share between 0 and 1");
        }
        let url = reqwest::Url::parse(&url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let Some((url, host)) = url.as_ref().and_then(|url| Some((url, url.host_str()?))) else {
            return Err(SettingsError::Endpoint { variable: name });
        };
        Ok(Some(Self {
            is_on_this_machine: is_loopback(host),
            host: format!("{host}:{}", url.port_or_known_default().unwrap_or(80)),
            protocol,
            timeout,
            sets_delay: variable("OTEL_BSP_SCHEDULE_DELAY").is_some(),
        }))
    }
}

/// The first of these variables that is set to more than blanks.
fn set(variable: &impl Fn(&str) -> Option<String>, names: &[&'static str]) -> Option<(&'static str, String)> {
    names.iter().find_map(|name| {
        let value = variable(name)?;
        let value = value.trim();
        (!value.is_empty()).then(|| (*name, value.to_owned()))
    })
}

/// Where traces should go, if anywhere.
fn endpoint(variable: &impl Fn(&str) -> Option<String>) -> Option<(&'static str, String)> {
    let is =
        |name: &str, value: &str| variable(name).is_some_and(|own| own.trim().eq_ignore_ascii_case(value));
    set(variable, &ENDPOINTS).filter(|_| !is(DISABLED, "true") && !is(EXPORTER, "none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318");

    fn read(variables: &[(&str, &str)]) -> Result<Option<Settings>, String> {
        let find = |name: &str| {
            let found = variables.iter().find(|(own, _)| *own == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Settings::read(find).map_err(|error| error.to_string())
    }

    #[test]
    fn without_an_endpoint_or_when_disabled_there_are_no_traces() {
        for variables in [
            &[][..],
            &[("OTEL_SERVICE_NAME", "shop"), ("OTEL_TRACES_SAMPLER", "nonsense")],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")],
            &[ENDPOINT, ("OTEL_SDK_DISABLED", "True")],
            &[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")],
        ] {
            assert_eq!(read(variables), Ok(None), "{variables:?}");
        }
    }

    #[test]
    fn the_endpoint_of_traces_wins_and_only_its_host_is_kept() {
        let own =
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://user:secret@otel.example/v1/traces?key=secret");
        let settings = read(&[ENDPOINT, own, ("OTEL_EXPORTER_OTLP_TIMEOUT", "250")]).unwrap().unwrap();
        assert_eq!((settings.host.as_str(), settings.is_on_this_machine), ("otel.example:443", false));
        assert_eq!(
            (settings.timeout, settings.protocol),
            (Duration::from_millis(250), Protocol::HttpProtobuf)
        );
        let of_traces = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc");
        let called = read(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"), of_traces]);
        assert_eq!(called.unwrap().unwrap().protocol, Protocol::Grpc);
        assert!(!format!("{settings:?}").contains("secret"));
        let settings = read(&[ENDPOINT]).unwrap().unwrap();
        assert_eq!((settings.host.as_str(), settings.is_on_this_machine), ("localhost:4318", true));
        assert_eq!(settings.timeout, TIMEOUT);
    }

    #[test]
    fn what_flash_does_not_know_is_named_with_what_it_may_be() {
        for (variable, value, says) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "expected `http/protobuf` or `grpc`"),
            ("OTEL_TRACES_EXPORTER", "zipkin", "`otlp` or `none`"),
            ("OTEL_TRACES_SAMPLER", "xray", "`always_on`"),
            ("OTEL_TRACES_SAMPLER_ARG", "2", "between 0 and 1"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "10s", "milliseconds"),
        ] {
            let error = read(&[ENDPOINT, (variable, value)]).unwrap_err();
            assert!(error.contains(variable) && error.contains(value) && error.contains(says), "{error}");
        }
        for url in ["localhost:4318", "ftp://host", "secret"] {
            let error = read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", url)]).unwrap_err();
            assert_eq!(error, "OTEL_EXPORTER_OTLP_ENDPOINT is not a URL such as `http://localhost:4318`");
        }
    }
}
