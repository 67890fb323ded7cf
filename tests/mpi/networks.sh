#!/usr/bin/env bash
# Run a command on two ranks in network namespaces of their own, joined by a bridge: they only have TCP.
# usage: unshare -n networks.sh COMMAND...      (as root)
set -eu
scratch=$(mktemp -d)
agent=$scratch/agent
nodes=()
trap 'kill "${nodes[@]}"; rm -rf "$scratch"' EXIT
ip link set lo up
ip link add name br0 type bridge
ip addr add 10.99.0.1/24 dev br0
ip link set br0 up
for i in 1 2; do
    unshare -n sleep 600 &
    node=$!
    nodes+=("$node")
    until [ "$(readlink /proc/$node/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
    ip link add v$i type veth peer name eth0 netns $node
    ip link set v$i master br0
    ip link set v$i up
    nsenter -t $node -n sh -c "ip link set lo up; ip addr add 10.99.0.1$i/24 dev eth0; ip link set eth0 up"
done
# What mpirun calls in place of ssh.
cat >"$agent" <<A
#!/bin/bash
nodes=(${nodes[@]})
node=\${nodes[\$((\${1##*.1} - 1))]}
export TMPDIR=$scratch/\$node
mkdir -p "\$TMPDIR"
shift
exec nsenter -t \$node -n bash -c "\$*"
A
chmod +x "$agent"
mpirun -q --bind-to none --host 10.99.0.11:1,10.99.0.12:1 --mca plm_rsh_agent "$agent" --mca pml ob1 --mca btl tcp,self \
    --mca oob_tcp_if_include 10.99.0.0/24 --mca btl_tcp_if_include 10.99.0.0/24 -x PATH -x LC_ALL -n 2 "$@"
