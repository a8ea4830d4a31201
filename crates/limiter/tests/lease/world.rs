//! A world with a clock of its own: tasks of several nodes, timers, nodes that pause and die. Nothing in it sleeps, and
//! the same seed gives the same history.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;
use tollgate_limiter::lease::{Surroundings, Work};

/// Which node a task runs on; the world's own tasks (the network, say) run on none and never pause.
pub(crate) type NodeId = usize;
/// The node of tasks that belong to no node.
pub(crate) const NOWHERE: NodeId = usize::MAX;

#[derive(Default)]
struct Inside {
    now_us: i64,
    timers: BinaryHeap<Reverse<(i64, u64)>>,
    wakers: BTreeMap<u64, Waker>,
    next_number: u64,
    tasks: BTreeMap<u64, (NodeId, Option<Work>)>,
    paused_until_us: BTreeMap<NodeId, i64>,
    random: u64,
}

type Ready = Arc<Mutex<VecDeque<u64>>>;

/// The world. Clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct World {
    inside: Arc<Mutex<Inside>>,
    ready: Ready,
}

struct Awake {
    task: u64,
    ready: Ready,
}

impl Wake for Awake {
    fn wake(self: Arc<Self>) {
        self.ready.lock().push_back(self.task);
    }
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let world = Self::default();
        world.inside.lock().random = seed ^ 0x9e37_79b9_7f4a_7c15;
        world
    }

    pub(crate) fn now_us(&self) -> i64 {
        self.inside.lock().now_us
    }

    /// A number below the bound.
    pub(crate) fn random(&self, below: u64) -> u64 {
        let mut inside = self.inside.lock();
        inside.random ^= inside.random << 13;
        inside.random ^= inside.random >> 7;
        inside.random ^= inside.random << 17;
        inside.random % below.max(1)
    }

    /// Between half as long and half as long again.
    pub(crate) fn spread(&self, micros: i64) -> i64 {
        micros / 2 + i64::try_from(self.random(micros.unsigned_abs() + 1)).expect("a short time")
    }

    pub(crate) fn spawn(&self, node: NodeId, work: impl Future<Output = ()> + Send + 'static) {
        let mut inside = self.inside.lock();
        inside.next_number += 1;
        let task = inside.next_number;
        inside.tasks.insert(task, (node, Some(Box::pin(work))));
        self.ready.lock().push_back(task);
    }

    pub(crate) async fn sleep_until(&self, at_us: i64) {
        let mut is_set = false;
        poll_fn(|context| {
            let mut inside = self.inside.lock();
            if inside.now_us >= at_us {
                return Poll::Ready(());
            }
            if !is_set {
                is_set = true;
                inside.set_timer(at_us, context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    pub(crate) async fn sleep(&self, micros: i64) {
        self.sleep_until(self.now_us() + micros).await;
    }

    /// Nothing of the node runs for so long: as if its machine had stopped.
    pub(crate) fn pause(&self, node: NodeId, micros: i64) {
        let mut inside = self.inside.lock();
        let until_us = inside.now_us + micros;
        inside.paused_until_us.insert(node, until_us);
    }

    /// The node is gone for good, in the middle of whatever it did.
    pub(crate) fn kill(&self, node: NodeId) {
        let dead: Vec<_> = {
            let mut inside = self.inside.lock();
            let tasks: Vec<u64> = inside.tasks.iter().filter(|(_, task)| task.0 == node).map(|(id, _)| *id).collect();
            tasks.into_iter().filter_map(|id| inside.tasks.remove(&id)).collect()
        };
        drop(dead);
    }

    /// Ends every task where it is. What runs in a world holds it, and all that it works on: it would live for ever.
    pub(crate) fn end(&self) {
        let tasks = std::mem::take(&mut self.inside.lock().tasks);
        drop(tasks);
    }

    /// Runs everything up to that instant.
    pub(crate) fn run_until(&self, end_us: i64) {
        loop {
            while let Some(task) = { self.ready.lock().pop_front() } {
                self.poll(task);
            }
            let waker = {
                let mut inside = self.inside.lock();
                match inside.timers.peek().copied() {
                    Some(Reverse((at_us, number))) if at_us <= end_us => {
                        inside.timers.pop();
                        inside.now_us = inside.now_us.max(at_us);
                        inside.wakers.remove(&number)
                    }
                    _ => {
                        inside.now_us = end_us;
                        return;
                    }
                }
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    fn poll(&self, task: u64) {
        let waker = Waker::from(Arc::new(Awake { task, ready: Arc::clone(&self.ready) }));
        let work = {
            let mut inside = self.inside.lock();
            let Some((node, work)) = inside.tasks.get_mut(&task) else { return };
            let node = *node;
            let Some(taken) = work.take() else { return };
            let paused_until_us = inside.paused_until_us.get(&node).copied().unwrap_or(0);
            if paused_until_us > inside.now_us {
                inside.set_timer(paused_until_us, waker);
                inside.tasks.insert(task, (node, Some(taken)));
                return;
            }
            taken
        };
        let mut work = work;
        let is_over = work.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        let mut inside = self.inside.lock();
        if is_over {
            inside.tasks.remove(&task);
        } else if let Some((_, place)) = inside.tasks.get_mut(&task) {
            *place = Some(work);
        }
    }
}

impl Inside {
    fn set_timer(&mut self, at_us: i64, waker: Waker) {
        self.next_number += 1;
        let number = self.next_number;
        self.timers.push(Reverse((at_us, number)));
        self.wakers.insert(number, waker);
    }
}

/// The world as one node's leases see it. Its clock began at some other time than the world's.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) world: World,
    pub(crate) node: NodeId,
    pub(crate) clock_began_us: i64,
}

impl Surroundings for Place {
    fn monotonic_us(&self) -> i64 {
        self.world.now_us() - self.clock_began_us
    }

    fn spawn(&self, work: Work) {
        self.world.spawn(self.node, work);
    }

    fn sleep(&self, micros: u64) -> Work {
        let world = self.world.clone();
        Box::pin(async move { world.sleep(i64::try_from(micros).expect("a short time")).await })
    }
}
