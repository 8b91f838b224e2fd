"""The receiver: BigCommerce posts its callbacks here.

`bc2ot serve` runs it on waitress. For another WSGI server, such as gunicorn:

    gunicorn --workers 1 --threads 32 'onetribe_bc.web:create_application()'
"""

from onetribe_bc.web.service import create_application

__all__ = ["create_application"]
