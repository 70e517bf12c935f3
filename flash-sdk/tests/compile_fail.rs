//! Each mistake in an attribute is reported by `cargo check`, with the caret on the user's token.

#[test]
fn mistakes_are_reported_where_they_are_made() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
