//! The writer's rules, model-checked: the real commands, cache, queue and `conflict.rs` run over a Postgres
//! in memory that other processes write to and that breaks, while shuttle chooses which task goes on at every
//! await. Whatever it chooses, what stands in `check.rs` must hold.
//!
//! A failing schedule is printed, to be replayed with `shuttle::replay(…)` in place of the scheduler.

mod check;
mod postgres;
mod process;
mod purse;
mod trouble;

use shuttle::future::{block_on, spawn};
use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{
    DfsScheduler, PctScheduler, RandomScheduler, Scheduler, UncontrolledNondeterminismCheckScheduler,
};
use shuttle::{Config, MaxSteps, Runner};

use postgres::{Grain, Postgres};
use process::{PURSES, Process};
use purse::Ask;
use trouble::{Trouble, Troubles};

/// What is run in one schedule.
#[derive(Clone, Debug)]
struct Plan {
    grain: Grain,
    processes: usize,
    /// What a process lets wait for its writer, and what it keeps live.
    queue: usize,
    live_streams: usize,
    /// How often each hears of the other's writings.
    hears: usize,
    balance: i64,
    troubles: Troubles,
    /// Each caller asks one after the other: which process, what, and how long it waits for an answer.
    callers: Vec<Vec<(usize, Ask, usize)>>,
}

/// Schedules of one plan, where all are run.
const MOST_SCHEDULES: usize = 10_000;

const PATIENT: usize = usize::MAX;

/// By whom a command with a key is: whoever brings the key.
const BY_KEY: usize = 1_000;

impl Plan {
    /// One process and nothing wrong.
    fn of(callers: Vec<Vec<(usize, Ask, usize)>>) -> Self {
        let troubles = Troubles::listed(&[], 0);
        Self {
            grain: Grain::Fine,
            processes: 1,
            queue: 8,
            live_streams: 8,
            hears: 0,
            balance: 10,
            troubles,
            callers,
        }
    }

    /// Two processes, and everything by chance.
    fn by_chance() -> Self {
        let mut random = thread_rng();
        let mut any = |limit: usize| random.gen_range(0..limit);
        let mut caller = |_| (0..=any(2)).map(|_| (any(2), ask(&mut any), patience(&mut any))).collect();
        let callers = (0..4).map(&mut caller).collect();
        Self {
            grain: Grain::Fine,
            processes: 2,
            queue: [1, 8][any(2)],
            live_streams: [1, 8][any(2)],
            hears: any(3),
            balance: 10,
            troubles: Troubles::ByChance { left: u32::try_from(any(4)).expect("a small number") },
            callers,
        }
    }
}

fn ask(any: &mut impl FnMut(usize) -> usize) -> Ask {
    let (one, other) = [(PURSES[0], PURSES[1]), (PURSES[1], PURSES[0])][any(2)];
    match any(10) {
        0 => Ask::Credit { to: one, amount: 3 },
        1 => Ask::CreditOnce { to: PURSES[0], amount: 3, key: 1 },
        2 | 3 => Ask::Spend { from: one, amount: 6 },
        4 => Ask::SpendInTwo { from: one, amount: 4 },
        5..=7 => Ask::Transfer { from: one, to: other, amount: 6 },
        8 => [Ask::Nothing { of: one }, Ask::NothingOnce { of: PURSES[0], key: 2 }][any(2)],
        _ => Ask::Malformed { to: one },
    }
}

fn patience(any: &mut impl FnMut(usize) -> usize) -> usize {
    if any(8) == 0 { any(12) } else { PATIENT }
}

async fn run(plan: Plan) {
    let purses = PURSES.map(|purse| (purse, plan.balance));
    let postgres = Postgres::holding(&purses, plan.grain, plan.troubles);
    let start = |_| Process::start(&postgres, plan.queue, plan.live_streams);
    let (processes, writers): (Vec<_>, Vec<_>) = (0..plan.processes).map(start).unzip();
    let mut by = 0;
    let mut callers = vec![];
    for asks in plan.callers {
        let asks = asks.into_iter().map(|(process, ask, patience)| {
            by += 1;
            (processes[process].clone(), ask.key().map_or(by, |key| BY_KEY + key), ask, patience)
        });
        let asks: Vec<_> = asks.collect();
        callers.push(spawn(async move {
            let mut asked = vec![];
            for (process, by, ask, patience) in asks {
                asked.push(process.ask(by, ask, patience).await);
            }
            asked
        }));
    }
    let ears: Vec<_> = match plan.hears {
        0 => vec![],
        times => processes.iter().map(|process| spawn(process.clone().hear(times))).collect(),
    };
    let mut asked = vec![];
    for caller in callers {
        asked.extend(caller.await.expect("not aborted"));
    }
    for ear in ears {
        ear.await.expect("not aborted");
    }
    let caches: Vec<_> = processes.iter().map(|process| process.log.cache.clone()).collect();
    // With the last handle the queue closes, and the writer ends.
    drop(processes);
    for writer in writers {
        writer.await.expect("not aborted");
    }
    postgres.settled().await;
    check::streams_are_whole(&postgres.tables());
    check::answers_are_true(&postgres, &asked);
    for cache in &caches {
        check::live_is_stored(&postgres, cache).await;
    }
}

fn explore(scheduler: impl Scheduler + 'static, plan: impl Fn() -> Plan + Send + Sync + 'static) -> usize {
    let mut config = Config::new();
    // A debug build's futures are large.
    config.stack_size = 1 << 20;
    // Far more than any schedule needs: whoever takes so many goes round in a circle.
    config.max_steps = MaxSteps::FailAfter(20_000);
    Runner::new(scheduler, config).run(move || block_on(run(plan())))
}

#[test]
fn the_log_is_true_whatever_comes_first() {
    explore(RandomScheduler::new(1_000), Plan::by_chance);
}

#[test]
fn the_log_is_true_where_some_tasks_are_slow() {
    explore(PctScheduler::new(4, 1_000), Plan::by_chance);
}

const SPEND: Ask = Ask::Spend { from: PURSES[0], amount: 6 };
const MOVE: Ask = Ask::Transfer { from: PURSES[0], to: PURSES[1], amount: 6 };

/// Two in one process who want the same money, in every schedule there is: with nothing wrong, and where
/// that ends soon, with trouble.
#[test]
fn the_same_money_is_not_spent_twice_in_any_schedule() {
    let troubles: [(&[Trouble], u32); 4] = [
        (&[], 0),
        (&[Trouble::Transient], 0),
        (&[Trouble::LostAfterCommit], 0),
        (&[Trouble::LostAfterCommit], 1),
    ];
    for (batches, look_ups) in troubles {
        let plan = move || Plan {
            grain: Grain::Coarse,
            troubles: Troubles::listed(batches, look_ups),
            ..Plan::of(vec![vec![(0, SPEND, PATIENT)], vec![(0, MOVE, PATIENT)]])
        };
        let explored = explore(DfsScheduler::new(Some(MOST_SCHEDULES), false), plan);
        assert!(explored < MOST_SCHEDULES, "{batches:?}: there are more schedules");
    }
}

/// Nothing but the scheduler's choices decides what happens, so that a printed schedule can be replayed.
#[test]
fn a_schedule_can_be_replayed() {
    explore(UncontrolledNondeterminismCheckScheduler::new(RandomScheduler::new(100)), Plan::by_chance);
}
