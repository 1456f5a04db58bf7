#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::duplicate_mod,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod access;
mod access_cli;
mod access_instances;
mod aftermath;
mod architecture;
mod audit_log;
mod audit_relay;
mod audit_support;
mod audit_verify;
mod bad_input;
mod blob_contract;
mod blob_local;
mod blob_s3;
mod blob_s3_faults;
mod browser;
mod browser_passwords;
mod browser_sending;
mod browser_support;
mod canary;
mod client_address;
mod clock;
mod crash;
mod crypto_derivations;
mod crypto_layout;
mod crypto_parsers;
mod crypto_stream;
mod crypto_tink;
mod crypto_wycheproof;
mod damage;
mod damaged_records;
mod database;
mod deadline;
mod deadline_change;
mod disk;
mod edge;
mod edge_clients;
mod edge_h2;
mod edge_places;
mod edge_slow;
mod edge_support;
mod exact_counts;
mod failpoints;
mod faults;
mod forms;
mod fuzz_targets;
mod gate;
mod health;
mod http2;
mod isolation;
mod lease_bounds;
mod lease_model;
mod leases;
mod links;
mod messages;
mod metrics;
mod metrics_support;
mod minio;
mod names;
#[allow(dead_code, reason = "what a file lends to others is used from the first of the two")]
mod on_redis;
#[allow(dead_code, reason = "what a file lends to others is used from the first of the two")]
mod on_redis_and_minio;
mod one_answer;
mod open_files;
mod options;
mod output;
mod pages;
mod password_flood;
mod passwords;
mod quotas;
mod quotas_inside;
mod quotas_redis;
mod range_texts;
mod ranges;
mod rate_limits;
mod rate_model;
mod record_contract;
mod redis_clock;
mod redis_cluster;
mod redis_expiry;
mod redis_replica;
mod redis_rollback;
mod redis_room;
mod redis_serve;
mod redis_server;
mod redis_store;
mod redis_tls;
mod refusals;
mod round_trip;
mod s3_service;
mod sample;
mod scanners;
mod sending;
mod sessions;
mod slow_uploads;
mod sqlite_store;
mod start_up;
mod stores;
mod support;
mod sweep;
mod theft;
mod tools;
mod toxiproxy;
mod trail;
mod transfer_leases;
mod transfer_model;
mod transfer_states;
mod transfer_tries;
mod wiring;
mod wiring_minio;
mod wiring_redis;

use support::Server;

/// A server on the stores that need no configuration, with further settings.
async fn serve(settings: &[(&str, &str)]) -> Server {
    Server::with(settings).await
}

/// The same behaviour with the bytes in MinIO.
#[allow(dead_code, reason = "what a file lends to others is theirs to use from the first of the two")]
#[path = "."]
mod on_minio {
    use crate::stores::Stores;
    use crate::support::Server;

    async fn serve(settings: &[(&str, &str)]) -> Server {
        Server::on(Stores::minio().await, settings).await
    }

    #[path = "canary.rs"]
    mod canary;
    #[path = "crash.rs"]
    mod crash;
    #[path = "deadline.rs"]
    mod deadline;
    #[path = "leases.rs"]
    mod leases;
    #[path = "round_trip.rs"]
    mod round_trip;
}
