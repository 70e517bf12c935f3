//! Compressed bodies are not supported. They are refused with that reason, not as invalid JSON.

/// Why a body with these values of `Content-Encoding` is refused; `None` if it is not compressed.
pub fn unsupported_coding<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Option<String> {
    let codings =
        values.into_iter().flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let coding =
        codings.into_iter().find(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"))?;
    let coding: String = String::from_utf8_lossy(coding).chars().take(20).collect();
    Some(format!("the body has Content-Encoding: {coding}, which is not supported; send it uncompressed"))
}

#[cfg(test)]
mod tests {
    use super::unsupported_coding;

    #[test]
    fn a_compressed_body_is_refused_and_a_plain_one_is_not() {
        for values in [["gzip"].as_slice(), &["identity, br"], &["identity", "zstd"], &["\u{e9}"], &["GZIP"]]
        {
            let told = unsupported_coding(values.iter().map(|value| value.as_bytes()));
            assert!(told.is_some_and(|told| told.contains("not supported")), "{values:?}");
        }
        for values in [[].as_slice(), &["identity"], &[""], &["Identity,"]] {
            assert_eq!(
                unsupported_coding(values.iter().map(|value: &&str| value.as_bytes())),
                None,
                "{values:?}"
            );
        }
        let long = "x".repeat(100_000);
        assert!(unsupported_coding([long.as_bytes()]).unwrap().len() < 200);
    }
}
