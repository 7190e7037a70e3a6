cd /tmp/h/codecs; VIRTUAL_ENV=$PWD/.venv .venv/bin/python -m maturin develop > /tmp/h/codecs-build.log 2>&1; echo done >> /tmp/h/codecs-build.log
