//! Lists, newest first: `limit`, `starting_after`, `ending_before`, `created[gte]`, `has_more`.

use serde_json::{Value, json};

use crate::params::Params;
use crate::refusal::Refusal;
use crate::world::{World, integer, shown};

const DEFAULT_LIMIT: i64 = 10;
const MOST_LIMIT: i64 = 100;

/// A list as part of another object.
pub fn whole(data: Vec<Value>, url: &str) -> Value {
    json!({ "object": "list", "data": data, "has_more": false, "url": url })
}

pub struct Page {
    limit: usize,
    starting_after: Option<String>,
    ending_before: Option<String>,
    created: Created,
}

#[derive(Default)]
struct Created {
    at: Option<i64>,
    gt: Option<i64>,
    gte: Option<i64>,
    lt: Option<i64>,
    lte: Option<i64>,
}

impl Page {
    pub fn read(params: &mut Params) -> Result<Self, Refusal> {
        let limit = params.integer("limit")?.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MOST_LIMIT).contains(&limit) {
            let message = format!("Invalid integer: limit must be between 1 and {MOST_LIMIT}");
            return Err(Refusal::invalid("limit".to_owned(), &message));
        }
        Ok(Page {
            limit: usize::try_from(limit).expect("1 to 100"),
            starting_after: params.text("starting_after")?,
            ending_before: params.text("ending_before")?,
            created: Created::read(params)?,
        })
    }

    /// The page of the `kind` objects that are `wanted`.
    pub fn of(
        &self,
        world: &World,
        kind: &str,
        url: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value, Refusal> {
        let newest_first: Vec<&Value> = world
            .objects
            .of_kind(kind)
            .rev()
            .filter(|object| self.created.holds(integer(object, "created")) && wanted(object))
            .collect();
        let position = |id: &String, param: &'static str| match world.objects.get(id) {
            None => Err(Refusal::NotFound { what: "object", id: id.clone(), param }),
            Some(_) => Ok(newest_first.iter().position(|object| object["id"] == id.as_str())),
        };
        let (rest, has_more) = match (&self.starting_after, &self.ending_before) {
            (Some(_), Some(_)) => {
                let message = "You cannot parameterize both 'starting_after' and 'ending_before'.";
                return Err(Refusal::invalid("ending_before".to_owned(), message));
            }
            (Some(id), None) => {
                let after = position(id, "starting_after")?.map_or(newest_first.len(), |found| found + 1);
                let rest = &newest_first[after..];
                (&rest[..rest.len().min(self.limit)], rest.len() > self.limit)
            }
            (None, Some(id)) => {
                let before = position(id, "ending_before")?.unwrap_or_default();
                let rest = &newest_first[..before];
                (&rest[rest.len().saturating_sub(self.limit)..], rest.len() > self.limit)
            }
            (None, None) => {
                (&newest_first[..newest_first.len().min(self.limit)], newest_first.len() > self.limit)
            }
        };
        let data: Vec<Value> = rest.iter().map(|object| shown(object)).collect();
        Ok(json!({ "object": "list", "data": data, "has_more": has_more, "url": url }))
    }
}

impl Created {
    fn read(params: &mut Params) -> Result<Self, Refusal> {
        let Some(mut range) = params.range("created")? else {
            return Ok(Created { at: params.integer("created")?, ..Created::default() });
        };
        let created = Created {
            at: None,
            gt: range.integer("gt")?,
            gte: range.integer("gte")?,
            lt: range.integer("lt")?,
            lte: range.integer("lte")?,
        };
        range.done()?;
        Ok(created)
    }

    fn holds(&self, time: i64) -> bool {
        self.at.is_none_or(|at| time == at)
            && self.gt.is_none_or(|gt| time > gt)
            && self.gte.is_none_or(|gte| time >= gte)
            && self.lt.is_none_or(|lt| time < lt)
            && self.lte.is_none_or(|lte| time <= lte)
    }
}
