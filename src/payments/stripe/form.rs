//! Bodies and queries as Stripe takes them: `a[b][c]=value` pairs.

use form_urlencoded::Serializer;

/// Pairs in the order they are added; the same pairs are the same bytes, as idempotency keys want.
#[derive(Default)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.push((name.into(), value.into()));
        self
    }

    pub fn with_some(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    pub fn encode(&self) -> String {
        let mut encoded = Serializer::new(String::new());
        self.0.iter().for_each(|(name, value)| {
            encoded.append_pair(name, value);
        });
        encoded.finish()
    }
}
