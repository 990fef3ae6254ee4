//! Waiting for credit that other requests of the same wallet still hold.
//!
//! First come, first served: whoever waits is asked again before anyone who came later. Nothing is
//! written and no response is begun while a request waits. A closed hold of this process wakes the
//! queue at once, and so does whatever another process is heard to have written to the wallet; should that be
//! missed, it is asked again every second. Each node has queues of its own, and first come is first on its node.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use codexapi_aggregates::ids::AccountId;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

/// How long and how many may wait.
#[derive(Clone, Copy, Debug)]
pub struct WaitingLimits {
    pub longest: Duration,
    /// Requests of one wallet; 0 refuses at once.
    pub per_wallet: usize,
    /// Who waits asks again after this though nothing was heard.
    pub ask_again: Duration,
}

/// What asking came to.
pub enum Asked<T, E> {
    Admitted(T),
    Refused(E),
    MustWait,
}

/// Why a request was not admitted.
#[derive(Debug)]
pub enum NotAdmitted<E> {
    Refused(E),
    /// The queue is full, or the request waited as long as it may.
    StillWaiting,
    /// The client left while it waited.
    ClientLeft,
}

/// The queues of all wallets for which something waits.
pub struct Admission {
    limits: WaitingLimits,
    queues: Mutex<HashMap<AccountId, Arc<Queue>>>,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<usize>,
    /// Held by the one whose turn it is; tokio's mutex is fair.
    turn: tokio::sync::Mutex<()>,
    changed: Notify,
}

impl Admission {
    pub fn new(limits: WaitingLimits) -> Self {
        Self { limits, queues: Mutex::default() }
    }

    /// Asks until admitted, refused, out of time, or `left` by the client. `ask` must be repeatable
    /// and leave no trace unless it admits; it is never dropped half-way, because what it has asked
    /// for may be granted already.
    pub async fn admit<T, E, F>(
        &self,
        account: AccountId,
        left: impl Future<Output = ()>,
        mut ask: impl FnMut() -> F,
    ) -> Result<T, NotAdmitted<E>>
    where
        F: Future<Output = Asked<T, E>>,
    {
        if !self.is_waited_for(account) {
            match ask().await {
                Asked::Admitted(admitted) => return Ok(admitted),
                Asked::Refused(refusal) => return Err(NotAdmitted::Refused(refusal)),
                Asked::MustWait => {}
            }
        }
        let Some(place) = self.take_place(account) else { return Err(NotAdmitted::StillWaiting) };
        let deadline = Instant::now() + self.limits.longest;
        let mut left = std::pin::pin!(left);
        let _turn = tokio::select! {
            turn = place.queue.turn.lock() => turn,
            () = sleep_until(deadline) => return Err(NotAdmitted::StillWaiting),
            () = &mut left => return Err(NotAdmitted::ClientLeft),
        };
        loop {
            let changed = place.queue.changed.notified();
            match ask().await {
                Asked::Admitted(admitted) => return Ok(admitted),
                Asked::Refused(refusal) => return Err(NotAdmitted::Refused(refusal)),
                Asked::MustWait if Instant::now() >= deadline => return Err(NotAdmitted::StillWaiting),
                Asked::MustWait => tokio::select! {
                    () = changed => {}
                    () = sleep(self.limits.ask_again) => {}
                    () = &mut left => return Err(NotAdmitted::ClientLeft),
                },
            }
        }
    }

    /// Something of this wallet was freed, or credited.
    pub fn wake(&self, account: AccountId) {
        if let Some(queue) = self.queues().get(&account) {
            queue.changed.notify_one();
        }
    }

    /// Something may have changed for any of them.
    pub fn wake_all(&self) {
        self.queues().values().for_each(|queue| queue.changed.notify_one());
    }

    /// Requests that wait, of all wallets.
    pub fn waiting(&self) -> usize {
        let queues = self.queues();
        let waiting = queues.values().map(|queue| *queue.waiting.lock().unwrap_or_else(|p| p.into_inner()));
        waiting.sum()
    }

    fn is_waited_for(&self, account: AccountId) -> bool {
        self.queues().contains_key(&account)
    }

    fn take_place(&self, account: AccountId) -> Option<Place<'_>> {
        let mut queues = self.queues();
        if self.limits.per_wallet == 0 {
            return None;
        }
        let queue = queues.entry(account).or_default().clone();
        let mut waiting = queue.waiting.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if *waiting >= self.limits.per_wallet {
            return None;
        }
        *waiting += 1;
        drop(waiting);
        Some(Place { admission: self, account, queue })
    }

    fn queues(&self) -> std::sync::MutexGuard<'_, HashMap<AccountId, Arc<Queue>>> {
        self.queues.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// A place in a wallet's queue; the queue is gone when nobody waits.
struct Place<'a> {
    admission: &'a Admission,
    account: AccountId,
    queue: Arc<Queue>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut queues = self.admission.queues();
        let mut waiting = self.queue.waiting.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        *waiting -= 1;
        if *waiting == 0 {
            queues.remove(&self.account);
        } else {
            // Whoever is next asks at once: the one before may have left credit over.
            self.queue.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn account() -> AccountId {
        AccountId(uuid::Uuid::from_u128(7))
    }

    fn admission(per_wallet: usize) -> Admission {
        let (longest, ask_again) = (Duration::from_secs(120), Duration::from_secs(1));
        Admission::new(WaitingLimits { longest, per_wallet, ask_again })
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_is_admitted_in_the_order_of_arrival() {
        let admission = Arc::new(admission(32));
        let free = Arc::new(AtomicUsize::new(0));
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut waiting = Vec::new();
        for number in 0..5 {
            let (admission, free, order) = (admission.clone(), free.clone(), order.clone());
            waiting.push(tokio::spawn(async move {
                let ask = || async {
                    match free.load(Ordering::SeqCst) {
                        0 => Asked::<(), ()>::MustWait,
                        n => {
                            free.store(n - 1, Ordering::SeqCst);
                            Asked::Admitted(())
                        }
                    }
                };
                admission.admit(account(), pending(), ask).await.unwrap();
                order.lock().unwrap().push(number);
            }));
            tokio::task::yield_now().await;
        }
        for _ in 0..5 {
            free.fetch_add(1, Ordering::SeqCst);
            admission.wake(account());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        for task in waiting {
            task.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), vec![0, 1, 2, 3, 4]);
        assert!(admission.queues().is_empty(), "a queue outlived its last waiter");
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_refuses_and_a_long_wait_ends() {
        let admission = Arc::new(admission(1));
        let never = || async { Asked::<(), ()>::MustWait };
        let first = tokio::spawn({
            let admission = admission.clone();
            async move { admission.admit(account(), pending(), never).await }
        });
        tokio::task::yield_now().await;
        assert!(matches!(admission.admit(account(), pending(), never).await, Err(NotAdmitted::StillWaiting)));
        assert!(matches!(first.await.unwrap(), Err(NotAdmitted::StillWaiting)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_leaves_gives_up_its_place() {
        let admission = admission(1);
        let never = || async { Asked::<(), ()>::MustWait };
        let left = tokio::time::sleep(Duration::from_secs(3));
        assert!(matches!(admission.admit(account(), left, never).await, Err(NotAdmitted::ClientLeft)));
        assert!(admission.queues().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_while_waiting_is_passed_on() {
        let admission = admission(1);
        let asked = AtomicUsize::new(0);
        let ask = || async {
            match asked.fetch_add(1, Ordering::SeqCst) {
                0 => Asked::<(), &str>::MustWait,
                _ => Asked::Refused("no credit"),
            }
        };
        assert!(matches!(
            admission.admit(account(), pending(), ask).await,
            Err(NotAdmitted::Refused("no credit"))
        ));
    }
}
