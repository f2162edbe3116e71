//! `cargo stack` as a person uses it, with the real servers and services, beside any stack that
//! runs; and what it has Prometheus and Grafana show.

mod alerting;
mod compose_file;
mod dashboards;
mod lifecycle;
mod rules;
mod support;
