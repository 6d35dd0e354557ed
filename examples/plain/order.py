"""Any program that imports the app may send: python order.py 42."""

import sys

from shop import receipt, report

if __name__ == "__main__":
    number = sys.argv[1]
    later = report.delay("November")
    print(receipt.delay(number).get(timeout=10))
    print(later.get(timeout=10))
