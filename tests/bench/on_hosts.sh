#!/bin/sh
# Run an MPI program with each rank on a host of its own: network namespaces on
# one switch, their links limited in both directions. Needs root and iproute2.
#
#   tests/bench/on_hosts.sh RANKS RATE PROGRAM [OPTION...]
#   tests/bench/on_hosts.sh 4 1gbit build/tests/bench/bench_allreduce ...
set -eu
ranks=$1 rate=$2
shift 2
tag=trb$$
scratch=$(mktemp -d)

clean_up() {
  for i in $(seq 1 "$ranks"); do
    ip netns del "$tag-$i" 2>/dev/null || true
    rm -rf "/etc/netns/$tag-$i"
  done
  ip netns del "$tag-0" 2>/dev/null || true
  rm -rf "$scratch"
}
trap clean_up EXIT
trap 'exit 1' INT TERM

ip netns add "$tag-0"
ip -n "$tag-0" link add sw type bridge
ip -n "$tag-0" link set sw up
hosts=
for i in $(seq 1 "$ranks"); do
  mkdir -p "/etc/netns/$tag-$i"
  echo "127.0.0.1 localhost" >"$scratch/$i"
  ip netns add "$tag-$i"
  ip -n "$tag-$i" link set lo up
  ip link add v0 netns "$tag-$i" type veth peer name "p$i" netns "$tag-0"
  ip -n "$tag-0" link set "p$i" master sw up
  ip -n "$tag-$i" addr add "10.78.0.$i/24" dev v0
  ip -n "$tag-$i" link set v0 up
  # Out of the host, and into it.
  ip netns exec "$tag-$i" tc qdisc add dev v0 root tbf rate "$rate" \
    burst 256kb latency 50ms
  ip netns exec "$tag-0" tc qdisc add dev "p$i" root tbf rate "$rate" \
    burst 256kb latency 50ms
  hosts=$hosts,$tag-$i
done
for i in $(seq 1 "$ranks"); do
  echo "10.78.0.$i $tag-$i"
done >"$scratch/all"
for i in $(seq 1 "$ranks"); do
  cat "$scratch/$i" "$scratch/all" >"/etc/netns/$tag-$i/hosts"
done
cat >"$scratch/agent" <<'AGENT'
#!/bin/sh
host=$1
shift
exec ip netns exec "$host" unshare -u sh -c "hostname $host; $*"
AGENT
chmod +x "$scratch/agent"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
timeout -k 5 300 "$scratch/agent" "$tag-1" mpirun -n "$ranks" \
  -H "${hosts#,}" --bind-to none --mca plm rsh \
  --mca plm_rsh_agent "$scratch/agent" --mca oob_tcp_if_include v0 \
  --mca btl tcp,self --mca btl_tcp_if_include v0 --mca btl_tcp_links 2 \
  --mca mpi_yield_when_idle 1 "$@" >"$scratch/out" </dev/null
cat "$scratch/out"
