//! What any URL may answer before its handler is reached, or in place of it; said of each, so that no client meets a
//! status that its document knows nothing of.

use utoipa::Modify;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{OpenApi, Ref};

/// Adds to each operation the errors it does not describe itself.
pub struct Errors;

impl Modify for Errors {
    fn modify(&self, document: &mut OpenApi) {
        for (path, item) in &mut document.paths.paths {
            let all = [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
            for operation in all.into_iter().flatten() {
                add(path, operation);
            }
        }
    }
}

fn add(path: &str, operation: &mut Operation) {
    let is_dialect = path.starts_with("/v1/");
    let open = SecurityRequirement::default();
    let is_public = operation.security.as_ref().is_some_and(|wanted| wanted.contains(&open));
    let mut errors = vec![
        ("400", "The request cannot be read, or a parameter or header is not as it should be"),
        ("503", "Not available at the moment; the same request may work soon"),
    ];
    if !is_public {
        errors.push(("401", "No token, or one that is not known here"));
        errors.push(("403", "This token does not open this URL"));
    }
    if operation.request_body.is_some() {
        errors.push(("408", "The body did not come to its end in time"));
        errors.push(("413", "The body is too large"));
    }
    if is_dialect {
        errors.push(("default", "Any other error, the provider's too, in the dialect of this URL"));
    }
    for (status, description) in errors {
        let described = &mut operation.responses.responses;
        described.entry(status.to_owned()).or_insert_with(|| error(description, is_dialect).into());
    }
}

/// A dialect has its own form of errors.
fn error(description: &str, is_dialect: bool) -> Response {
    let ours = (!is_dialect).then(|| Ref::from_schema_name("ErrorBody"));
    let content = ContentBuilder::new().schema(ours).build();
    ResponseBuilder::new().description(description).content("application/json", content).build()
}
