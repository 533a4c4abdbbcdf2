# shellcheck shell=bash
# Two Slurm nodes on one machine. To be sourced by a script that enter_namespaces has put into
# namespaces of its own: what is started here cannot outlive the script, and listens on nothing that
# the rest of the machine could see.

# Usage: enter_namespaces <script> <arguments>. Starts the script again as the first process of new
# PID, network, mount and host-name namespaces, unless it is that already. All that it starts ends
# with it.
enter_namespaces() {
  [[ ${LOCKSTEP_IN_NAMESPACES:-} == yes ]] && return 0
  LOCKSTEP_IN_NAMESPACES=yes exec unshare --pid --net --uts --mount --ipc --fork --kill-child \
    --mount-proc --propagation private "$@"
}

# Runs a command every 0.2 s until it succeeds. Usage: wait_for <seconds> <what> <command...>
wait_for() {
  local limit=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    if ((SECONDS >= limit)); then
      echo "timed out waiting for $what" >&2
      return 1
    fi
    sleep 0.2
  done
}

# Usage: start_slurm <private folder>. node0 and node1 are this machine under two names.
start_slurm() {
  local dir=$1 cpus
  cpus=$(nproc)
  mkdir -p "$dir"/{munge,state,spool-node0,spool-node1,tmp-node0,tmp-node1}
  chmod 755 "$dir" "$dir/munge"
  hostname controller
  ip link set lo up
  # Slurm wants an address that is not a loopback one. It leads nowhere.
  ip link add nodes type veth peer name nowhere
  ip address add 10.0.0.1/24 dev nodes
  ip address add 10.0.0.2/24 dev nodes
  ip link set nodes up
  ip link set nowhere up
  printf '%s\n' '127.0.0.1 localhost' '10.0.0.1 controller node0' '10.0.0.2 node1' > "$dir/hosts"
  mount --bind "$dir/hosts" /etc/hosts

  dd if=/dev/urandom of="$dir/munge.key" bs=128 count=1 status=none
  chmod 400 "$dir/munge.key"
  cat > "$dir/slurm.conf" << CONF
ClusterName=lockstep-test
SlurmctldHost=controller(10.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
KillWait=15
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool-%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd-%n.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd-%n.log
SlurmctldPort=6817
SlurmdParameters=config_overrides
TmpFS=$dir/tmp-%n
NodeName=node0 NodeHostname=controller NodeAddr=10.0.0.1 Port=6820 CPUs=$cpus State=UNKNOWN
NodeName=node1 NodeHostname=controller NodeAddr=10.0.0.2 Port=6821 CPUs=$cpus State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
  export SLURM_CONF=$dir/slurm.conf

  munged --foreground --force --socket="$dir/munge/socket" --key-file="$dir/munge.key" \
    --pid-file="$dir/munge.pid" --log-file="$dir/munge.log" --seed-file="$dir/munge.seed" \
    2> "$dir/munge.err" &
  wait_for 10 munged test -S "$dir/munge/socket"
  slurmctld -D > /dev/null 2>&1 &
  slurmd -D -N node0 > /dev/null 2>&1 &
  slurmd -D -N node1 > /dev/null 2>&1 &
  wait_for 30 "two idle nodes" two_nodes_are_idle
}

two_nodes_are_idle() {
  [[ $(sinfo -h -N -t idle -o %N 2> /dev/null | sort -u | wc -l) == 2 ]]
}
