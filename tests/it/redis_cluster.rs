//! A Redis Cluster of three nodes: two have a shard each, and the third, to which the URL leads, has none.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use burnbag::transfer::access::Team;
use burnbag::transfer::quota::Limits;

use crate::redis_server::RedisServer;
use crate::sample::{START, team};
use crate::stores::Stores;
use crate::support::{SOON, Server, free_port, wait_for};

/// The nodes of shard 0, of shard 1, and of no shard.
pub struct Cluster {
    nodes: [RedisServer; 3],
}

impl Cluster {
    /// Three nodes that know each other.
    pub async fn start() -> Self {
        Self::begin(None).await
    }

    /// The same, with the time that this file shows: it passes until the nodes know each other, and then stands at
    /// [`START`].
    pub async fn with_clock(clock: &Path) -> Self {
        Self::begin(Some(clock)).await
    }

    async fn begin(clock: Option<&Path>) -> Self {
        // Written in place: the nodes look at it all the time.
        let file =
            clock.map(|clock| File::options().write(true).create(true).truncate(false).open(clock).unwrap());
        let show = |millis: u64| {
            if let Some(file) = &file {
                file.write_all_at(&millis.to_ne_bytes(), 0).unwrap();
            }
        };
        let began = START.as_millis() - 2_000_000;
        show(began);
        let node = async || {
            let bus = free_port().to_string();
            // Time that jumps makes no node think that another is gone.
            let settings = [
                ("cluster-enabled", "yes"),
                ("cluster-port", bus.as_str()),
                ("cluster-node-timeout", "1000000000000"),
            ];
            (RedisServer::begin(&settings, clock.map(Path::to_owned)).await, bus)
        };
        let ((one, _), (two, bus_two), (three, bus_three)) = (node().await, node().await, node().await);
        let slot = |shard: u8| one.ask::<u32>(&["CLUSTER", "KEYSLOT", &format!("{{bb.{shard}}}")]);
        let (first, second) = (slot(0), slot(1));
        assert_ne!(first, second);
        one.ask::<String>(&["CLUSTER", "ADDSLOTS", &first.to_string()]);
        two.ask::<String>(&["CLUSTER", "ADDSLOTS", &second.to_string()]);
        let (low, high) = (first.min(second), first.max(second));
        for (from, to) in [(0, low), (low + 1, high), (high + 1, 16_384)] {
            if from < to {
                three.ask::<String>(&["CLUSTER", "ADDSLOTSRANGE", &from.to_string(), &(to - 1).to_string()]);
            }
        }
        for (asked, node, bus) in
            [(&one, &two, &bus_two), (&one, &three, &bus_three), (&two, &three, &bus_three)]
        {
            let address = node.address();
            let (host, port) = address.split_once(':').unwrap();
            asked.ask::<String>(&["CLUSTER", "MEET", host, port, bus]);
        }
        let nodes = [one, two, three];
        let passed = Instant::now();
        loop {
            // A node waits two seconds before it trusts what it knows: they may as well be short ones.
            show(began + 20 * u64::try_from(passed.elapsed().as_millis()).unwrap());
            let knows = |node: &RedisServer| {
                let info: String = node.ask(&["CLUSTER", "INFO"]);
                [
                    "cluster_state:ok",
                    "cluster_slots_assigned:16384",
                    "cluster_known_nodes:3",
                    "cluster_size:3",
                ]
                .iter()
                .all(|line| info.contains(line))
            };
            if nodes.iter().all(knows) {
                break;
            }
            assert!(passed.elapsed() < 3 * SOON, "the nodes do not find each other");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        show(START.as_millis());
        Self { nodes }
    }

    /// Where the URL leads: to the node without a shard.
    pub fn url(&self) -> String {
        self.nodes[2].url()
    }

    /// Puts the teams of the samples into a shard.
    pub fn teams_in(&self, shard: u8) {
        for id in [team(1), team(2)] {
            let team = Team {
                id,
                name: "sample".to_owned(),
                shard,
                created: START,
                version: 1,
                operator: false,
                admins: Vec::new(),
                limits: Limits::default(),
                removed: None,
            };
            let body = serde_json::to_string(&team).unwrap();
            self.nodes[0].ask::<u32>(&["HSET", &format!("bb:{{bb.0}}:team:{id}"), "body", &body]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_cluster_expired_keys_are_heard_from_the_node_of_their_slot() {
    let cluster = Cluster::start().await;
    let settings = [("BURNBAG_WORKERS", "listener,relay"), ("BURNBAG_REDIS_SHARDS", "2")];
    let [one, _two, three] = cluster.nodes;
    let by = three.url();
    let server = Server::on(Stores::in_redis(one).by(by), &settings).await;
    for _ in 0..2 {
        let link = server.send("short", "hello", "expires=1s").await;
        wait_for("the transfer to be purged", || async {
            (server.transfer(&link.transfer).await["state"] == "purged").then_some(())
        })
        .await;
        // Once more after the connection was lost.
        server.stores.in_which_redis().ask::<u32>(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    }
}
