//! Many nodes over one Postgres: where a wallet's commands run, and that it makes no difference to the books.

mod at_home;
mod pair;
mod pushed;
mod silent;
