# Waits until the process that started it closes the pipe, then ends what runs in the folder and removes it.
# The folder comes by environment: whatever names it on its command line is ended, and this must not be.
trap '' HUP INT TERM
folder=$MILLSTREAM_SERVER_FOLDER
while read -r _; do :; done

pids() {
    if [ -r /proc/self/cmdline ]; then
        # What ends between the listing and the reading is gone, which is all that is wanted of it.
        printf '%s' "$folder" | grep -lsF -f - /proc/[0-9]*/cmdline | tr -dc '0-9\n'
    else
        ps -axo pid=,command= | while read -r pid command; do
            case $command in *"$folder"*) echo "$pid" ;; esac
        done
    fi
}
send() {
    for pid in $(pids); do kill -s "$1" "$pid" 2>/dev/null; done
}

# Postgres takes QUIT for an immediate stop, in which it ends its own backends, stopped ones too, within 5 seconds.
send QUIT
send CONT
tries=0
while [ -n "$(pids)" ]; do
    tries=$((tries + 1))
    [ $tries -ge 100 ] && send KILL
    [ $tries -ge 200 ] && break
    sleep 0.1
done
# One that was killed has left the little segment by which the next would have known it to be alive.
segment=$(sed -n '7s/.* //p' "$folder/data/postmaster.pid" 2>/dev/null)
[ -n "$segment" ] && ipcrm -m "$segment" 2>/dev/null

tries=0
until rm -rf "$folder" 2>/dev/null; do
    tries=$((tries + 1))
    [ $tries -ge 100 ] && break
    sleep 0.1
done
