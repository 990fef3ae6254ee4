//! Lists as OpenAI pages them: `limit` objects from after the id of the last one seen, in either order.

use serde::Serialize;

use crate::http::error::Problem;
use crate::stored::Order;

const DEFAULT_LIMIT: u32 = 20;
const MAX_LIMIT: u32 = 100;

/// A query's parameters as they were sent.
pub type Parameters = Vec<(String, String)>;

/// Which page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paging {
    pub limit: u32,
    pub order: Order,
    pub after: Option<String>,
}

/// One page.
#[derive(Serialize)]
pub struct List<T> {
    object: &'static str,
    pub data: Vec<T>,
    first_id: Option<String>,
    last_id: Option<String>,
    has_more: bool,
}

impl Paging {
    /// # Errors
    /// 400 where a parameter is none of those that can be.
    pub fn read(parameters: &Parameters, default_order: Order) -> Result<Self, Problem> {
        let value = |name: &str| parameters.iter().find(|(given, _)| given == name).map(|(_, value)| value);
        let limit = match value("limit").map(|limit| limit.parse()) {
            None => DEFAULT_LIMIT,
            Some(Ok(limit @ 1..=MAX_LIMIT)) => limit,
            Some(Ok(_) | Err(_)) => {
                return Err(Problem::invalid("invalid_limit", "`limit` should be 1 to 100.").about("limit"));
            }
        };
        let order = match value("order").map(String::as_str) {
            None => default_order,
            Some("asc") => Order::Asc,
            Some("desc") => Order::Desc,
            Some(_) => {
                return Err(
                    Problem::invalid("invalid_order", "`order` should be asc or desc.").about("order")
                );
            }
        };
        Ok(Self { limit, order, after: value("after").cloned() })
    }

    /// The page of `all`, which are in ascending order, each with its id.
    ///
    /// # Errors
    /// 400 where `after` is none of them.
    pub fn page<T>(&self, mut all: Vec<(String, T)>) -> Result<List<T>, Problem> {
        if self.order == Order::Desc {
            all.reverse();
        }
        let from = match &self.after {
            None => 0,
            Some(after) => {
                let place = all.iter().position(|(id, _)| id == after);
                place.ok_or(crate::stored::StoredError::UnknownCursor)? + 1
            }
        };
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let has_more = all.len() - from > limit;
        Ok(List::new(all.into_iter().skip(from).take(limit).collect(), has_more))
    }
}

impl<T> List<T> {
    pub fn new(page: Vec<(String, T)>, has_more: bool) -> Self {
        let id = |entry: Option<&(String, T)>| entry.map(|(id, _)| id.clone());
        let (first_id, last_id) = (id(page.first()), id(page.last()));
        let data = page.into_iter().map(|(_, object)| object).collect();
        Self { object: "list", data, first_id, last_id, has_more }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paging(query: &[(&str, &str)]) -> Result<Paging, Problem> {
        let parameters = query.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Paging::read(&parameters, Order::Asc)
    }

    fn page(query: &[(&str, &str)]) -> (Vec<u32>, bool) {
        let all = (0..5).map(|n| (format!("id{n}"), n)).collect();
        let page = paging(query).expect("good").page(all).expect("known");
        (page.data, page.has_more)
    }

    #[test]
    fn pages_follow_one_another_in_either_order() {
        assert_eq!(page(&[]), (vec![0, 1, 2, 3, 4], false));
        assert_eq!(page(&[("limit", "2")]), (vec![0, 1], true));
        assert_eq!(page(&[("limit", "2"), ("after", "id1")]), (vec![2, 3], true));
        assert_eq!(page(&[("limit", "2"), ("after", "id2"), ("order", "asc")]), (vec![3, 4], false));
        assert_eq!(page(&[("limit", "3"), ("after", "id3"), ("order", "desc")]), (vec![2, 1, 0], false));
        assert_eq!(page(&[("after", "id4")]), (vec![], false));
    }

    #[test]
    fn what_is_no_page_is_refused_by_its_parameter() {
        for bad in [("limit", "0"), ("limit", "101"), ("limit", "x"), ("order", "up")] {
            assert_eq!(paging(&[bad]).expect_err("refused").param, Some(bad.0));
        }
        let unknown = paging(&[("after", "id9")]).expect("good").page(vec![("id0".to_owned(), 0)]);
        assert_eq!(unknown.err().expect("refused").param, Some("after"));
    }
}
