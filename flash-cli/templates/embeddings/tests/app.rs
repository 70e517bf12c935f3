//! What needs no model.
use ::{{crate}}::dot;

#[test]
fn a_vector_is_like_itself_and_unlike_one_across() {
    assert_eq!(dot(&[0.6, 0.8], &[0.6, 0.8]), 1.0);
    assert_eq!(dot(&[1.0, 0.0], &[0.0, 1.0]), 0.0);
}
