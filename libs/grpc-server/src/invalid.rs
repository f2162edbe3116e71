use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

/// What is wrong with a field, and its name.
pub type Wrong = Vec<(&'static str, String)>;

/// INVALID_ARGUMENT: the fields and reasons as text, and as a `google.rpc.BadRequest` for programs.
pub fn invalid(wrong: Wrong) -> Status {
    let sentences: Vec<String> =
        wrong.iter().map(|(field, why)| format!("{field}: {why}")).collect();
    let violations = wrong.into_iter().map(|(field, why)| FieldViolation::new(field, why));
    let details = ErrorDetails::with_bad_request(violations.collect::<Vec<_>>());
    Status::with_error_details(Code::InvalidArgument, sentences.join("; "), details)
}
