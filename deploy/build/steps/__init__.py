"""What happens inside of a build container: fetch, decide, build with repo2docker, leave the result in /out.

The worker has put `/run/dockyard/job.json` there before the start and follows the container's output: JSON lines of
repo2docker (`{"message": …, "phase": …}`), lines of whatever it starts, and lines of ours with the key `dockyard`. There
are no secrets in the environment or on a command line: a RUN step of the contained builder shares the processes' view, so
what git needs is gone before a repository's code runs, and the registry's password never comes here with that builder.

Only the standard library and what repo2docker needs may be imported; nothing of the control plane is in this image.
"""
