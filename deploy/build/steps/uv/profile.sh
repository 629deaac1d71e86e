# Debian's /etc/profile sets PATH anew in a login shell; put the environment back in front.
case ":$PATH:" in *:/srv/venv/bin:*) ;; *) PATH="$HOME/.local/bin:/srv/venv/bin:$PATH" ;; esac
export PATH
