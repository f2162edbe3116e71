#!/bin/bash
# Apache Kafka under Redpanda's command line: listens and advertises as the flags say.
set -eu
[ "$1 $2" = "redpanda start" ]
shift 2
for argument in "$@"; do
  case $argument in
    --kafka-addr=*) listeners=${argument#*=} ;;
    --advertise-kafka-addr=*) advertised=${argument#*=} ;;
  esac
done
map=CONTROLLER:PLAINTEXT
for listener in ${listeners//,/ }; do
  name=${listener%%://*}
  map=$map,${name^^}:PLAINTEXT
done
# Kafka wants the names of listeners in capitals.
capitals() { sed -E 's#(^|,)([a-z]+)://#\1\U\2://#g' <<<"$1"; }
data=/var/lib/redpanda/data
cat >/tmp/server.properties <<EOF
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:19093
controller.listener.names=CONTROLLER
listeners=$(capitals "$listeners"),CONTROLLER://127.0.0.1:19093
advertised.listeners=$(capitals "$advertised")
listener.security.protocol.map=$map
inter.broker.listener.name=INTERNAL
log.dirs=$data/kafka
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
EOF
java=(java -Xms256m -Xmx512m -XX:+UseG1GC -cp "/opt/kafka/*")
[ -e $data/kafka/meta.properties ] ||
  "${java[@]}" kafka.tools.StorageTool format -t AAAAAAAAAAAAAAAAAAAAAA -c /tmp/server.properties
# The admin port has metrics, though not Redpanda's.
mkdir -p /tmp/admin && echo 'redpanda_stand_in 1' >/tmp/admin/public_metrics
busybox httpd -p 9644 -h /tmp/admin
exec "${java[@]}" kafka.Kafka /tmp/server.properties
